"""A small untrained checkpoint, for tests of what uses one."""

import pathlib

import jax

from effnet_jax import create_model, environment
from effnet_jax.training import checkpoint
from effnet_jax.training.state import init_variables

LABELS = ("cat", "dog", "horse", "ship", "truck")
MODEL = {
    "name": "efficientnet_b0",
    "num_classes": len(LABELS),
    "width_multiplier": 0.25,
    "depth_multiplier": 0.25,
}


def write_checkpoint(folder: pathlib.Path, resolution: int = 64, crop_fraction: float = 0.875) -> None:
    variables = init_variables(create_model(**MODEL), jax.random.key(0), resolution)
    metadata = {
        "model": MODEL,
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
    checkpoint.write(folder, variables, metadata)
