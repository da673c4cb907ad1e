"""Random weights for any model, a small checkpoint of some, and how what uses one fails where memory runs out."""

import pathlib
from typing import Any

import jax
import numpy as np

from effnet_jax import create_model
from effnet_jax.architecture.description import Architecture
from effnet_jax.pretrained.variables import Variable, variables
from effnet_jax.process import environment
from effnet_jax.training import checkpoint
from tests.well_conditioned import nest

LABELS = ("cat", "dog", "horse", "ship", "truck")
MODEL = {
    "name": "efficientnet_b0",
    "num_classes": len(LABELS),
    "width_multiplier": 0.25,
    "depth_multiplier": 0.25,
}


def write_checkpoint(
    folder: pathlib.Path, resolution: int = 64, crop_fraction: float = 0.875, model: dict[str, Any] = MODEL
) -> None:
    model = model | {"num_classes": len(LABELS)}
    # Different images are to give different answers.
    values = random_variables(create_model(**model).architecture, len(LABELS), gain=3, variance=0.3)
    metadata = {
        "model": model,
        "preprocess": {
            "resolution": resolution,
            "mean": (0.5, 0.4, 0.3),
            "std": (0.2, 0.25, 0.3),
            "crop_fraction": crop_fraction,
        },
        "class_names": LABELS,
        "selected_weights": "raw",
        "versions": environment.versions(),
    }
    checkpoint.write(folder, values, metadata)


def random_variables(
    architecture: Architecture, num_classes: int, dtype: str = "float32", gain: float = 2, variance: float = 1
) -> dict[str, Any]:
    """Variables for which no initialiser is compiled; the kernels keep the signal's size roughly.

    Args:
      gain: variance of a kernel's values for each of the values that it sums.
      variance: what BatchNorm takes its inputs to have.
    """
    rng = np.random.default_rng(0)

    def values(variable: Variable) -> np.ndarray:
        if variable.leaf == "kernel":
            return rng.standard_normal(variable.shape) * np.sqrt(gain / np.prod(variable.shape[:-1]))
        return np.full(variable.shape, {"scale": 1, "var": variance}.get(variable.leaf, 0))

    return nest({v.path: values(v).astype(dtype) for v in variables(architecture, num_classes)})


def with_statistics(variables: dict[str, Any]) -> dict[str, Any]:
    """The same network with BatchNorms of which no number is 0 or 1, as after a training."""
    rng = np.random.default_rng(1)
    draw = {
        "scale": lambda shape: rng.uniform(0.7, 1.5, shape),
        "bias": lambda shape: rng.normal(0, 0.2, shape),
        "mean": lambda shape: rng.normal(0, 0.3, shape),
        "var": lambda shape: rng.uniform(0.5, 2, shape),
    }

    def drawn(path: Any, leaf: np.ndarray) -> np.ndarray:
        is_norm = path[-2].key.endswith("bn")
        return draw[path[-1].key](leaf.shape).astype(leaf.dtype) if is_norm else np.asarray(leaf)

    return jax.tree_util.tree_map_with_path(drawn, variables)


def exhausted(*_: Any) -> None:
    """In place of a function that computes: what JAX raises where memory runs out."""
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
