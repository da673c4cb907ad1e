"""Packs CIFAR-100 for a bare GPU machine, and unpacks it there.

`--help` says how. The program itself is effnet_jax/programs/gpu_pack.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from effnet_jax import cli

if __name__ == "__main__":
    cli.run("gpu_pack")
