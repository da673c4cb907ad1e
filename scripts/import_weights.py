"""Imports weights of other implementations as a checkpoint.

`--help` says how. The program itself is effnet_jax/programs/import_weights.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from effnet_jax import cli

if __name__ == "__main__":
    cli.run("import_weights")
