"""What a network says of each example of a split, and the figures that follow from it."""

import dataclasses
import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from effnet_jax.data.device.feeds import Source
from effnet_jax.data.device.pipeline import Pipeline, Window
from effnet_jax.evaluation.classes import UNKNOWN
from effnet_jax.process import distributed, sharding
from effnet_jax.training import metrics
from effnet_jax.training.step import cross_entropy, rank_of_label

BINS = 15  # of confidence, in Guo et al.


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of a split whose class the network knows; arrays [N].

    Attributes:
      numbers: of the examples in the split.
      labels: their classes, as the network numbers them.
      predicted: the class with the highest probability.
      confidence: that probability.
      rank: how many classes have a higher probability than the label's.
      loss: cross-entropy in nats.
    """

    numbers: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    rank: np.ndarray
    loss: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [N]."""
        return self.rank == 0

    def figures(self, num_classes: int) -> dict[str, float]:
        """Returns "count" and what `metrics.rates` gives of a network of so many classes."""
        sums = {
            "count": len(self.labels),
            "loss": self.loss.sum(dtype=np.float64),
            "correct": self.correct.sum(),
            "top5_correct": (self.rank < metrics.TOP).sum(),
        }
        return {"count": sums["count"], **metrics.rates(sums, num_classes)}

    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al. 2017, equation 3): |accuracy - confidence|, over 15 bins."""
        bins = np.minimum((self.confidence * BINS).astype(int), BINS - 1)
        apart = np.bincount(bins, self.correct - self.confidence.astype(np.float64), BINS)
        return float(np.abs(apart).sum() / len(self.labels))


def walk(
    model: nn.Module, variables: Any, pipe: Pipeline, source: Source, batch_size: int, classes: np.ndarray
) -> Examples:
    """Takes a network over a split, every example once.

    Args:
      model, variables: the network; `variables` are on all devices.
      pipe: what makes batches of the split.
      source: the split.
      batch_size: images at a time, over all devices.
      classes: the network's number of each class of the split, `classes.UNKNOWN` where it has none; examples of such
        a class are left out.
    """

    def examine(variables: Any, window: Window) -> tuple[jax.Array, ...]:
        batch = pipe.eval_batch(window, batch_size)
        logits = model.apply(variables, batch["image"], train=False)
        label = jnp.asarray(classes)[batch["label"]]
        target = jnp.maximum(label, 0)
        confidence = jax.nn.softmax(logits).max(-1)
        loss, rank = cross_entropy(logits, target), rank_of_label(logits, target)
        return label, jnp.argmax(logits, -1), confidence, rank, loss, batch["mask"]

    # Whole on every device, so that each process has all of them.
    examine = jax.jit(examine, out_shardings=sharding.replicated(pipe.mesh))
    total = -(-source.count // batch_size)
    shown = distributed.is_first() and sys.stderr.isatty()
    parts, ahead = [], None  # a batch is fetched once the next one is under way
    for window in tqdm(source.windows(batch_size), "evaluating", total, unit="batch", leave=False, disable=not shown):
        ahead, done = examine(variables, window), ahead
        if done is not None:
            parts.append(jax.device_get(done))
    parts.append(jax.device_get(ahead))
    *arrays, mask = map(np.concatenate, zip(*parts))
    known = np.flatnonzero(mask & (arrays[0] != UNKNOWN))
    return Examples(known, *(array[known] for array in arrays))
