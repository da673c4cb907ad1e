"""Checking configs and comparing them. The defaults themselves stand in configs/default.py."""

import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.errors import UserError

# Where the data lies, and how many processes read it, is not part of what a run is: it may change between two starts.
LOCATION_KEYS = ("dataset.data_dir", "dataset.manual_dir", "dataset.cache_dir", "dataset.num_workers")
# How often a run speaks, validates and saves, and how its machine is used: no part of what it computes.
CADENCE_KEYS = (
    "log_every_steps", "eval_every_steps", "checkpoint_every_steps", "steps_per_dispatch", "eval_batch_size",
    "dataset.decoded_cache",
)  # fmt: skip
LENGTH_KEYS = ("num_epochs", "num_train_steps")
POSITIVE_KEYS = (
    "batch_size",
    "eval_batch_size",
    "log_every_steps",
    "steps_per_dispatch",
    "dataset.resolution",
    "dataset.crop_fraction",
    "optimizer.learning_rate",
    "optimizer.accumulation_steps",
    "optimizer.decay_epochs",
)
FRACTION_KEYS = (
    "label_smoothing",
    "ema_decay",
    "model.stochastic_depth_rate",
    "model.dropout_rate",
    "dataset.held_out_fraction",
)
SHARE_KEYS = (
    "augment.erasing_probability",
    "augment.mix_probability",
    "augment.cutmix_probability",
    "augment.mix_until",
    "dataset.crop_fraction",
)
NOT_NEGATIVE_KEYS = (
    "dataset.validation_examples",
    "augment.crop_padding",
    "augment.brightness",
    "augment.contrast",
    "augment.saturation",
    "augment.hue",
    "augment.cutout_size",
    "augment.mixup_alpha",
    "augment.cutmix_alpha",
)
OPTIONAL_POSITIVE_KEYS = ("eval_every_steps", "checkpoint_every_steps", "num_train_steps", "dataset.image_size")
# What runs did before there was a key for it: a stored config without the key means this.
ADDED_KEYS = {"model.in_channels": IN_CHANNELS, "model.ops": "fast", "model.bn_group": "global"}
DTYPES = ("float32", "bfloat16")
PADDINGS = ("SAME", "SYMMETRIC")
CHANNELS = (1, 3)  # grey and colour: data sets are of colour images, which can be made grey
BROKEN_IMAGES = ("fail", "skip")


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns {"model.name": ..., ...}, JSON-like (tuples as lists)."""
    flat = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                visit(f"{prefix}.{key}" if prefix else key, child)
        else:
            flat[prefix] = value

    visit("", as_json(config))
    return flat


def as_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the config as plain JSON values."""
    return json.loads(json.dumps(config.to_dict(), default=list))


def check_finite(config: ml_collections.ConfigDict) -> None:
    """Raises a `UserError` where a number is NaN or infinite, which no comparison with a limit need find."""
    for key, value in flatten(config).items():
        if not all(map(math.isfinite, _numbers(value))):
            raise UserError(f"config.{key} must be a number that is neither infinite nor NaN, got {value}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield value


def check(config: ml_collections.ConfigDict) -> None:
    """Raises a `UserError` for values that no data set or machine could make right."""
    check_finite(config)
    flat = flatten(config)
    for key in POSITIVE_KEYS:
        if flat[key] <= 0:
            raise UserError(f"config.{key} must be positive, got {flat[key]}")
    for key in FRACTION_KEYS:
        if flat[key] is not None and not 0 <= flat[key] < 1:
            raise UserError(f"config.{key} must be at least 0 and below 1, got {flat[key]}")
    for key in SHARE_KEYS:
        if not 0 <= flat[key] <= 1:
            raise UserError(f"config.{key} must be from 0 to 1, got {flat[key]}")
    for key in NOT_NEGATIVE_KEYS:
        if flat[key] < 0:
            raise UserError(f"config.{key} must not be negative, got {flat[key]}")
    if flat["augment.hue"] > 0.5:
        raise UserError(f"config.augment.hue must be at most 0.5, half a turn of the circle, got {flat['augment.hue']}")
    for key in OPTIONAL_POSITIVE_KEYS:
        if flat[key] is not None and flat[key] <= 0:
            raise UserError(f"config.{key} must be positive, got {flat[key]}")
    if flat["num_train_steps"] is None and flat["num_epochs"] <= 0:
        raise UserError(f"config.num_epochs must be positive, got {flat['num_epochs']}")
    if flat["model.dtype"] not in DTYPES:
        raise UserError(f"config.model.dtype is one of {', '.join(DTYPES)}, not {flat['model.dtype']!r}")
    if flat["model.padding"] not in (None, *PADDINGS):
        raise UserError(f"config.model.padding is one of {', '.join(PADDINGS)}, not {flat['model.padding']!r}")
    if flat["model.in_channels"] not in CHANNELS:
        raise UserError(
            f"config.model.in_channels is 3, or 1 for grey, not {flat['model.in_channels']}: data sets are of colour "
            "images"
        )
    if flat["dataset.broken_images"] not in BROKEN_IMAGES:
        choices = ", ".join(BROKEN_IMAGES)
        raise UserError(f"config.dataset.broken_images is one of {choices}, not {flat['dataset.broken_images']!r}")
    if flat["dataset.num_workers"] is not None and flat["dataset.num_workers"] < 0:
        raise UserError(f"config.dataset.num_workers must not be negative, got {flat['dataset.num_workers']}")
    for key, highest in (("dataset.crop_area", 1), ("dataset.crop_aspect", math.inf)):
        if not (len(flat[key]) == 2 and 0 < flat[key][0] <= flat[key][1] <= highest):
            raise UserError(f"config.{key} is a smallest and a largest value, got {flat[key]}")
    if config.batch_size % config.optimizer.accumulation_steps:
        raise UserError(
            f"config.batch_size ({config.batch_size}) must be a multiple of "
            f"config.optimizer.accumulation_steps ({config.optimizer.accumulation_steps})"
        )


def changed_keys(stored: dict[str, Any], config: ml_collections.ConfigDict) -> list[str]:
    """Lists "key: old -> new" for every key in which a stored run differs, locations aside.

    Args:
      stored: `flatten` of the config of the run on disk.
      config: the config of the run that is to start.
    """
    return changed_between(stored, flatten(config))


def changed_between(stored: dict[str, Any], current: dict[str, Any], free: Sequence[str] = LOCATION_KEYS) -> list[str]:
    """Lists the same of two flat configs, or descriptions of studies (keys begin with "train."), without `free`."""
    keys = sorted((stored.keys() | current.keys()) - set(free))
    before = {key: ADDED_KEYS.get(key.removeprefix("train."), "absent") for key in keys}
    return [
        f"{key}: {stored.get(key, before[key])} -> {current.get(key, before[key])}"
        for key in keys
        if stored.get(key, before[key]) != current.get(key, before[key])
    ]


def changed_mathematics(stored: dict[str, Any], config: ml_collections.ConfigDict) -> list[str]:
    """Lists what `changed_keys` does, without what a run may change on its way: cadence and length."""
    return changed_between(stored, flatten(config), (*LOCATION_KEYS, *CADENCE_KEYS, *LENGTH_KEYS))


def changed_length(stored: dict[str, Any], config: ml_collections.ConfigDict) -> list[str]:
    """Lists "key: old -> new" of those keys that say how long a run trains."""
    current = flatten(config)
    return changed_between({key: stored[key] for key in LENGTH_KEYS}, {key: current[key] for key in LENGTH_KEYS})


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads a run's config.json as `flatten` gives it."""
    try:
        return flatten(ml_collections.ConfigDict(json.loads(path.read_text())))
    except (json.JSONDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); --overwrite drops that run") from error
