"""How far BatchNorm's moving statistics are from those of the weights they stand beside.

Training normalises with the statistics of its batches alone, so one run serves every way to keep moving ones: its
weights are the same whatever the momentum is.
"""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax.flatten_util import ravel_pytree

from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.pipeline import Feed, Pipeline
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models.registry import create_model
from effnet_jax.process import environment, sharding
from effnet_jax.process.atomic import whole_file
from effnet_jax.training import statistics
from effnet_jax.training.freezing import NOTHING_FROZEN
from effnet_jax.training.setup import Setup, build

MOMENTA = (0.99, 0.9)
RECOMPUTED = "recomputed"  # as before a validation
REFERENCE_IMAGES = 2000
REFERENCE = f"recomputed, {REFERENCE_IMAGES} images"
AUGMENTED, IN_TRAINING = f"{REFERENCE}, augmented", f"{REFERENCE}, augmented, with dropout"
WEIGHTS = ("raw", "averaged")

Row = dict[str, Any]  # "epoch", "weights", "statistics", "loss", "accuracy"


def measure(config: ml_collections.ConfigDict, epochs: int, say: Callable[[str], None] = print) -> list[Row]:
    """Trains and evaluates, after each epoch, raw and averaged weights with every kind of statistics.

    The averaged weights' "momentum" is the average of the moving statistics, with the decay of the weights.
    """
    config = ml_collections.ConfigDict(config.to_dict())
    config.update({"steps_per_dispatch": 1, "num_train_steps": None, "num_epochs": epochs, "init_from": ""})
    config.model.bn_momentum = 0.0  # the state then holds the statistics of the last batch
    if not config.dataset.validation_examples:
        raise UserError("statistics are compared on validation images: set dataset.validation_examples above 0")
    setup = build(config)
    followed = _Followed(config.ema_decay)
    reference = Reference(config, setup)
    state, rows = setup.fresh_state(), []
    feeds = setup.feeds(0, None)
    followed.start(state.batch_stats)
    per_epoch = setup.plan.steps_per_epoch
    for step in range(epochs * per_epoch):
        feed = feeds.at(step)
        state, token = setup.train_steps(state, feed, 1)
        token.block_until_ready()
        followed.move(state.batch_stats, step)
        if (step + 1) % per_epoch:
            continue
        averaged = sharding.put_replicated(state.averaged_variables()["params"], setup.mesh)
        for weights, params in zip(WEIGHTS, (state.params, averaged), strict=True):
            kinds = followed.of(weights)
            variables = {"params": params, "batch_stats": state.batch_stats}
            (kinds[RECOMPUTED],) = setup.recompute.of([variables])
            kinds |= reference.of(variables, feed)
            networks = [
                {"params": params, "batch_stats": sharding.put_replicated(jax.device_get(kind), setup.mesh)}
                for kind in kinds.values()
            ]
            for kind, figures in zip(kinds, setup.evaluate(networks, setup.splits["validation"]), strict=True):
                epoch = (step + 1) // per_epoch
                rows.append({"epoch": epoch, "weights": weights, "statistics": kind, **figures})
                say(json.dumps(rows[-1]))
    feeds.close()
    return rows


class _Followed:
    """Moving statistics of several kinds, and their averages, each as one vector."""

    def __init__(self, ema_decay: float):
        self._kinds = {f"momentum {momentum}": (momentum, False) for momentum in MOMENTA}
        self._kinds |= {f"ramp to {momentum}": (momentum, True) for momentum in MOMENTA}

        def move(moving: jax.Array, averages: jax.Array, batch_stats: Any, step: jax.Array) -> Any:
            batch = ravel_pytree(batch_stats)[0]
            keep = jnp.stack(
                [statistics.ramp(m, step) if ramped else jnp.float32(m) for m, ramped in self._kinds.values()]
            )
            moving = moving + (1 - keep[:, None]) * (batch - moving)
            decay = statistics.ramp(ema_decay, step)
            return moving, averages + (1 - decay) * (moving - averages)

        self._move = jax.jit(move)

    def start(self, batch_stats: Any) -> None:
        """Takes the statistics of initialisation."""
        vector, self._unravel = ravel_pytree(batch_stats)
        self._moving = self._averages = jnp.stack([vector] * len(self._kinds))

    def move(self, batch_stats: Any, step: int) -> None:
        """Follows the statistics of one more batch."""
        self._moving, self._averages = self._move(self._moving, self._averages, batch_stats, step)

    def of(self, weights: str) -> dict[str, Any]:
        """Returns the statistics of each kind for "raw" or "averaged" weights."""
        vectors = self._moving if weights == "raw" else self._averages
        return dict(zip(self._kinds, map(self._unravel, vectors), strict=True))


class Reference:
    """Statistics over 2,000 training images: as they are, augmented, and augmented with dropout as in training."""

    def __init__(self, config: ml_collections.ConfigDict, setup: Setup):
        model = create_model(**config.model.to_dict())
        preprocess = Preprocess(**setup.description["preprocess"]).of_cut_images()
        pipe = Pipeline(setup.mesh, preprocess, Augmentation.from_config(config.augment), config.model.num_classes)
        batch_size, train = setup.plan.batch_size, setup.splits["train"]
        self._as_they_are = statistics.Recomputation(model, pipe, train, batch_size, num_images=REFERENCE_IMAGES)
        self._num_batches = min(-(-REFERENCE_IMAGES // batch_size), setup.plan.steps_per_epoch)

        def images(feed: Feed, number: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(1), number)
            return pipe.train_batch(feed, number, batch_size, key, jnp.bool_(True))["image"]

        def augmented(variables: dict[str, Any], feed: Feed, number: jax.Array) -> Any:
            return statistics.of_batch(model, variables, images(feed, number))

        def in_training(variables: dict[str, Any], feed: Feed, number: jax.Array) -> Any:
            key = jax.random.key(number)
            return NOTHING_FROZEN.forward(statistics.measuring(model), variables, images(feed, number), key)[1]

        compiled = functools.partial(jax.jit, out_shardings=sharding.replicated(setup.mesh))
        self._of_batch = {AUGMENTED: compiled(augmented), IN_TRAINING: compiled(in_training)}

    def of(self, variables: dict[str, Any], feed: Feed) -> dict[str, Any]:
        """Returns statistics by kind for {"params", "batch_stats"}, on the host; `feed` is one of training."""
        (found,) = self._as_they_are.of([variables])
        kinds = {REFERENCE: found}
        for kind, of_batch in self._of_batch.items():
            batches = [jax.device_get(of_batch(variables, feed, number)) for number in range(self._num_batches)]
            kinds[kind] = statistics.joint(batches)
        return kinds


def write(rows: list[Row], config: ml_collections.ConfigDict, commit: str | None, output: pathlib.Path) -> None:
    """Writes `output` (Markdown) and, beside it, the same as JSON with the config."""
    record = {
        "command": environment.command(),
        "commit": commit,
        "hardware": environment.hardware(),
        "versions": environment.versions(),
        "rows": rows,
        "config": json.loads(json.dumps(config.to_dict(), default=list)),
    }
    for path, text in ((output.with_suffix(".json"), json.dumps(record, indent=1)), (output, _markdown(record))):
        with whole_file(path) as file:
            file.write((text + "\n").encode())


def _markdown(record: dict[str, Any]) -> str:
    rows = record["rows"]
    epochs = sorted({row["epoch"] for row in rows})
    lines = [
        "# BatchNorm's statistics after each epoch",
        "",
        f"`{record['command']}`",
        "",
        f"Commit {record['commit']}, {record['hardware']}. One seed and one run: weights do not depend on moving",
        "statistics. Validation top-1 in % and loss.",
        "",
        f'"momentum {MOMENTA[0]}" is what validation of the recipe saw before statistics were recomputed for it,',
        f'"{RECOMPUTED}" what it sees now: computed from {statistics.NUM_IMAGES} training images as inference sees',
        "them, without augmentation and dropout. The others are for comparison. A ramp is min(momentum, (1 + n) /",
        "(10 + n)) at step n; the averaged weights' moving statistics are averaged as the weights are.",
        "",
        "| weights | statistics | " + " | ".join(f"epoch {epoch}" for epoch in epochs) + " |",
        "|---|---|" + "---|" * len(epochs),
    ]
    for weights, kind in dict.fromkeys((row["weights"], row["statistics"]) for row in rows):
        found = {r["epoch"]: r for r in rows if (r["weights"], r["statistics"]) == (weights, kind)}
        cells = " | ".join(f"{100 * found[e]['accuracy']:.1f}, {found[e]['loss']:.3f}" for e in epochs)
        lines.append(f"| {weights} | {kind} | {cells} |")
    return "\n".join(lines)
