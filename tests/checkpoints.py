"""A small checkpoint of random weights, for tests of what uses one, and how it fails where memory runs out."""

import pathlib
from typing import Any

import jax
import numpy as np

from effnet_jax import create_model
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
    rng = np.random.default_rng(0)
    model = model | {"num_classes": len(LABELS)}
    listed = variables(create_model(**model).architecture, len(LABELS))
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
    checkpoint.write(folder, nest({v.path: _values(v, rng) for v in listed}), metadata)


def _values(variable: Variable, rng: np.random.Generator) -> np.ndarray:
    """Kernels that keep the signal's size roughly, so that different images give different answers."""
    if variable.leaf == "kernel":
        fan_in = np.prod(variable.shape[:-1])
        return (rng.standard_normal(variable.shape) * np.sqrt(3 / fan_in)).astype(np.float32)
    constant = {"scale": 1.0, "var": 0.3}.get(variable.leaf, 0.0)
    return np.full(variable.shape, constant, np.float32)


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
