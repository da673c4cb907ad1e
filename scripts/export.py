"""Exports a model as StableHLO or ONNX.

`--help` says how. The program itself is effnet_jax/programs/export.py.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from effnet_jax import cli

if __name__ == "__main__":
    cli.run("export")
