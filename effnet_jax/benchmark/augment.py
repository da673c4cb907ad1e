"""What augmentation adds to a training step: the input batch with each kind of it, in turns with the bare step."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from effnet_jax.benchmark.case import OURS, Case
from effnet_jax.benchmark.jax_models import JaxImplementation
from effnet_jax.data.device import pipeline
from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.sets.splits import Split
from effnet_jax.process import sharding

# Changes to config.augment, on top of the defaults' crop and flip.
KINDS: dict[str, dict[str, Any]] = {
    "crop and flip": {},
    "colour jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "AutoAugment, CIFAR-10": {"policy": "autoaugment_cifar10"},
    "AutoAugment, ImageNet": {"policy": "autoaugment_imagenet"},
    "RandAugment": {"policy": "randaugment"},
    "TrivialAugment": {"policy": "trivialaugment"},
    "cutout and erasing": {"cutout_size": 16, "erasing_probability": 0.25},
    "mixup and CutMix": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0},
    "RandAugment, jitter, erasing, mix": {
        "policy": "randaugment",
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "erasing_probability": 0.25,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0,
    },
}
ROUNDS, BATCHES = 9, 20
STORED = 4096  # images, so that a gather finds no batch in the cache


@dataclasses.dataclass(frozen=True)
class Row:
    """Milliseconds of one batch with a kind of augmentation, and their share of the step without any input."""

    kind: str
    milliseconds: float
    share: float


def measure(case: Case, config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Times batches and the step of a training case in turns; medians over the rounds.

    Args:
      case: model, batch and resolution; images are stored at that resolution.
      config: config.augment with its defaults.

    Returns:
      "step_milliseconds", and "rows" as dictionaries of `Row`.
    """
    mesh = sharding.data_mesh()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STORED, case.resolution, case.resolution, 3), dtype=np.uint8)
    labels = rng.integers(0, case.num_classes, STORED).astype(np.int32)
    split = pipeline.to_device(Split(images, labels), mesh)
    feed = pipeline.ResidentFeed(split, jnp.asarray(rng.permutation(STORED)[: case.batch_size]))
    preprocess = Preprocess(case.resolution, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def batches(changes: dict[str, Any]) -> Callable[[int], float]:
        augment = config.copy_and_resolve_references()
        augment.update(changes)
        pipe = pipeline.Pipeline(mesh, preprocess, Augmentation.from_config(augment), case.num_classes)
        function = jax.jit(pipe.train_batch, static_argnums=2)
        keys = list(jax.random.split(jax.random.key(0), BATCHES))
        mixed = jnp.array(True)

        def run(count: int) -> None:
            jax.block_until_ready([function(feed, 0, case.batch_size, key, mixed) for key in keys[:count]])

        return _timed(run)

    step = _timed(JaxImplementation(OURS, case).run)
    functions = {kind: batches(changes) for kind, changes in KINDS.items()}
    step_seconds, found = [], {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        step_seconds.append(step(2))
        for kind, function in functions.items():
            found[kind].append(function(BATCHES))
    whole = statistics.median(step_seconds)
    medians = {kind: statistics.median(seconds) for kind, seconds in found.items()}
    rows = [dataclasses.asdict(Row(kind, 1e3 * seconds, seconds / whole)) for kind, seconds in medians.items()]
    return {"step_milliseconds": 1e3 * whole, "rows": rows}


def _timed(run: Callable[[int], Any]) -> Callable[[int], float]:
    """Returns a function from a number of calls to the seconds of one; `run` is warm by then."""
    run(1)

    def seconds(count: int) -> float:
        started = time.perf_counter()
        run(count)
        return (time.perf_counter() - started) / count

    return seconds
