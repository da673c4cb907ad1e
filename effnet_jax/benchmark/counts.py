"""What an accelerator's compiler says of training steps, as a table: `benchmark.py --compile_for`. Imports no JAX."""

import importlib.metadata
from typing import Any

import ml_collections

from effnet_jax import config_files
from effnet_jax.benchmark.report import table
from effnet_jax.benchmark.sections import PACKAGE, Say
from effnet_jax.benchmark.worker import isolated
from effnet_jax.errors import UserError
from effnet_jax.process import runtime

# Accelerator -> the package with its compiler, and the memory of a chip in bytes.
ACCELERATORS = {"h100": ("jax-cuda12-plugin", 84_929_347_584)}
# The part of a GPU's memory that JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
SHARE = 0.75
# What is counted unless a config is given: a name for it, a config, and what is changed there.
STEPS = (
    ("b0_cifar100", {}),
    ("b0_cifar100_best", {}),
    ("b0_imagenet", {"batch_size": 256, "augment.policy": ""}),
)


def default_steps() -> list[ml_collections.ConfigDict]:
    """Returns the configs of `STEPS`."""
    configs = []
    for name, changes in STEPS:
        config = config_files.get_config(name)
        config.update_from_flattened_dict(changes)
        configs.append(config)
    return configs


def count(configs: list[ml_collections.ConfigDict], accelerator: str, say: Say) -> list[dict[str, Any]]:
    """Compiles a training step of each config for an accelerator, one after the other; see `ahead.count`.

    Raises:
      UserError: its compiler is not installed.
    """
    package, memory = ACCELERATORS[accelerator]
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the compiler for {accelerator} comes with {package}, which is not installed here: `make gpu-count` makes "
            "an environment with it"
        ) from None
    runtime.select_platform("cpu")
    rows = []
    for config in configs:
        name = described(config)
        say(f"{name}: compiling")
        found = isolated(f"{PACKAGE}.ahead", "count", config, accelerator)
        fits = (SHARE * memory - found["fixed"]) / (found["peak"] - found["fixed"]) * config.batch_size
        rows.append({"step": name, **found, "fits": int(fits)})
    return rows


def described(config: ml_collections.ConfigDict) -> str:
    """Returns a step in a few words, such as "efficientnet_b0, 128 @ 32, float32, rmsprop, trivialaugment"."""
    augment = config.augment
    mixes = augment.mix_probability > 0 and (augment.mixup_alpha > 0 or augment.cutmix_alpha > 0)
    size = f"{config.batch_size} @ {config.dataset.resolution}"
    parts = [config.model.name, size, config.model.dtype, config.optimizer.name, augment.policy, "mixed" * mixes]
    return ", ".join(filter(None, parts))


def markdown(rows: list[dict[str, Any]], accelerator: str) -> str:
    """Returns the table of `count`."""
    header = ("training step", "kernels", "of them < 2 MB", "GB moved", "peak memory, GiB", "images that fit")
    cells = [
        (
            row["step"],
            str(row["kernels"]),
            str(row["small"]),
            f"{row['bytes'] / 1e9:.1f}",
            f"{row['peak'] / 2**30:.1f}",
            f"{row['fits']:,}",
        )
        for row in rows
    ]
    return (
        f"Counted by the compiler for {accelerator}, not measured: operations that run as one kernel, operands and "
        "results of each once (of what is only sliced the slices); state and data are part of the memory. Of images so "
        f"many would fit into {SHARE:.0%} of the accelerator's memory, which JAX takes by default.\n\n"
        + table(header, cells)
    )
