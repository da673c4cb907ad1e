"""A trained model in one file: weights, and everything a checkpoint says of itself. Some come with the package.

The file is safetensors: arrays under "params/..." and "batch_stats/...", the metadata as JSON in the header.
"""

import json
import pathlib

import ml_dtypes
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax import safetensors
from effnet_jax.errors import UserError
from effnet_jax.models.loaded import Loaded

SUFFIX = ".safetensors"
_SHIPPED = pathlib.Path(__file__).resolve().parents[1] / "weights"
_HEADER = "effnet_jax"  # the header's entry that makes a file one of ours


def names() -> list[str]:
    """Returns the names of the trained models that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob(f"*{SUFFIX}"))


def find(path: str | pathlib.Path) -> pathlib.Path | None:
    """Returns the file that `path` means: one itself, or the name of a model that comes with the package.

    What is there under that path goes before a name.
    """
    path = pathlib.Path(path).expanduser()
    if path.exists():
        return path if path.is_file() and path.suffix == SUFFIX else None
    return _SHIPPED / f"{path}{SUFFIX}" if str(path) in names() else None


def write(path: pathlib.Path, loaded: Loaded) -> None:
    """Writes a model: kernels in bfloat16, biases and BatchNorm's parameters and statistics in float32.

    Raises:
      UserError: the file cannot be written there.
    """
    tensors = {
        name: np.asarray(values, ml_dtypes.bfloat16 if name.endswith("/kernel") else np.float32)
        for name, values in flatten_dict(loaded.variables, sep="/").items()
    }
    about = {"metadata": loaded.metadata, "step": loaded.step, "ema": loaded.ema}
    safetensors.write(path, tensors, {_HEADER: json.dumps(about)})


def read(path: pathlib.Path, weights: str = "selected") -> Loaded:
    """Reads a model that `write` wrote; every array comes back as float32.

    Args:
      path: the file.
      weights: "raw", "ema", or "selected" for those that are in it.

    Raises:
      UserError: the file is damaged, not one of ours, or does not hold these weights.
    """
    tensors, texts = safetensors.read(path)
    if _HEADER not in texts:
        raise UserError(f"{path} are weights of another program; take them over with scripts/import_weights.py")
    about = json.loads(texts[_HEADER])
    held = "ema" if about["ema"] else "raw"
    if weights not in ("selected", held):
        raise UserError(f"{path} holds {held} weights alone; leave out --weights={weights}")
    arrays = {name: values.astype(np.float32) for name, values in tensors.items()}
    return Loaded(unflatten_dict(arrays, sep="/"), about["metadata"], about["step"], about["ema"])
