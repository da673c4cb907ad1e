"""What an accelerator's compiler says of training steps, as a table: `benchmark.py --compile_for`. Imports no JAX."""

import importlib.metadata
from typing import Any

import ml_collections

from effnet_jax import config_files
from effnet_jax.benchmark.accelerators import ACCELERATORS
from effnet_jax.benchmark.report import table
from effnet_jax.benchmark.sections import PACKAGE, Say
from effnet_jax.benchmark.worker import isolated
from effnet_jax.errors import UserError
from effnet_jax.process import runtime

# What is counted unless a config is given, by platform: the name of a config, and what is changed there. The batch is
# that of one chip.
STEPS = {
    "cuda": (
        ("b0_cifar100", {}),
        ("b0_cifar100_best", {}),
        ("b0_imagenet", {"batch_size": 256, "augment.policy": ""}),
    ),
    "tpu": (
        ("b0_cifar100", {}),
        ("b0_imagenet", {"batch_size": 256, "augment.policy": ""}),
    ),
}


def default_steps(accelerator: str) -> list[ml_collections.ConfigDict]:
    """Returns the configs of `STEPS`."""
    chosen, configs = ACCELERATORS[accelerator], []
    for name, changes in STEPS[chosen.platform]:
        config = config_files.get_config(name)
        config.update_from_flattened_dict(changes)
        config.batch_size *= chosen.chips
        configs.append(config)
    return configs


def count(configs: list[ml_collections.ConfigDict], accelerator: str, say: Say) -> list[dict[str, Any]]:
    """Compiles a training step of each config for an accelerator, one after the other; see `ahead.count`.

    Raises:
      UserError: its compiler is not installed.
    """
    chosen = ACCELERATORS[accelerator]
    try:
        importlib.metadata.version(chosen.package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the compiler for {accelerator} comes with {chosen.package}, which is not installed here: "
            f"`make {chosen.environment}` makes an environment with it"
        ) from None
    runtime.select_platform("cpu")
    rows = []
    for config in configs:
        name = described(config)
        say(f"{name}: compiling")
        found = isolated(f"{PACKAGE}.ahead", "count", config, accelerator)
        fits = (chosen.share * chosen.memory - found["fixed"]) / (found["peak"] - found["fixed"]) * config.batch_size
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
    chosen = ACCELERATORS[accelerator]
    exchanges = chosen.chips > 1
    operations = "kernels" if chosen.platform == "cuda" else "operations"
    header = ("training step", operations, "of them < 2 MB", "GB moved", "peak memory, GiB", "images that fit")
    cells = [
        (
            row["step"],
            str(row["kernels"]),
            str(row["small"]),
            f"{row['bytes'] / 1e9:.1f}",
            f"{row['peak'] / 2**30:.1f}",
            f"{row['fits']:,}",
            *([str(row["exchanges"])] if exchanges else []),
        )
        for row in rows
    ]
    of_each = f"; of each of {chosen.chips} chips, but images are those of all" if exchanges else ""
    return (
        f"Counted by the compiler for {accelerator}, not measured: operations that run as one, operands and results of "
        "each once where they are in main memory (of what is only sliced the slices); state and data are part of the "
        f"memory{of_each}. So many images would fit into {chosen.share:.0%} of it, which JAX takes by default.\n\n"
        + table((*header, *(["exchanges"] if exchanges else [])), cells)
    )
