"""Exports weights, for timm or as one file of our own.

`--help` says how. The program itself is effnet_jax/programs/export_weights.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from effnet_jax import cli

if __name__ == "__main__":
    cli.run("export_weights")
