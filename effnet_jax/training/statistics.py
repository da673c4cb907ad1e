"""BatchNorm's moving statistics that do not lag behind the weights they belong to.

Two things make them lag. They start at 0 and 1, of which momentum .99 still holds 5 % after 300 updates: a step moves
them by a ramp that forgets its start. And averaged weights are another network than any whose activations were seen
in training: its statistics are computed anew from training images (Wu & Johnson 2021, arXiv 2105.07576, section 3).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax import sharding
from effnet_jax.data.pipeline import Pipeline, Window
from effnet_jax.data.sources import Source
from effnet_jax.models.layers import BatchNorm
from effnet_jax.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training.freezing import NOTHING_FROZEN, Freezing

NUM_IMAGES = 2000  # that statistics are computed from, rounded up to whole batches; all of a smaller set


def measuring(model: nn.Module) -> nn.Module:
    """Returns `model` with momentum 0: applied for training, it leaves the statistics of the batch alone."""
    return model.clone(numerics=dataclasses.replace(model.numerics, bn_momentum=0.0))


def ramp(decay: float, updates: jax.Array) -> jax.Array:
    """Returns what a moving average keeps of itself at its next update, min(decay, (1 + n) / (10 + n)), float32 []."""
    return jnp.minimum(decay, (1.0 + updates) / (10.0 + updates)).astype(jnp.float32)


def moved(moving: Any, batch: Any, momentum: float, updates: jax.Array) -> Any:
    """Returns the moving statistics after one more batch.

    The share that is kept is min(momentum, (1 + n) / (10 + n)), as of averaged weights: little of the start is left
    after ten updates, none after twenty. That holds for statistics that come with the weights of another data set too.
    Where a frozen layer kept its statistics, `batch` has the same, and they stay to the bit.

    Args:
      moving: tree of statistics.
      batch: those of the batch alone, in the same form.
      momentum: share of the old ones that is kept in the long run.
      updates: int [], how often they have been updated before.
    """
    keep = ramp(momentum, updates)
    return jax.tree.map(lambda old, new: (old + (1 - keep) * (new - old)).astype(old.dtype), moving, batch)


def of_batch(
    model: nn.Module, variables: dict[str, Any], images: jax.Array, freezing: Freezing = NOTHING_FROZEN
) -> Any:
    """Returns the statistics of a batch [N, H, W, 3] as inference sees it: no dropout, no stochastic depth.

    Frozen layers have those of `variables`.
    """
    with nn.intercept_methods(_interceptor(freezing)):
        _, mutated = measuring(model).apply(variables, images, train=False, mutable=["batch_stats"])
    return mutated["batch_stats"]


def joint(batches: Sequence[Any]) -> Any:
    """Returns the statistics of several batches of one size taken together, on the host.

    The variance of all examples around their common mean is that within the batches and that between them.

    Args:
      batches: of each the statistics, on the host.
    """
    flat = [flatten_dict(batch) for batch in batches]
    found = {}
    for path, leaf in flat[0].items():
        within = np.mean([batch[path] for batch in flat], axis=0, dtype=float)
        mean = (*path[:-1], "mean")
        between = np.var([batch[mean] for batch in flat], axis=0, dtype=float) if path[-1] == "var" else 0.0
        found[path] = (within + between).astype(leaf.dtype)
    return unflatten_dict(found)


class Recomputation:
    """Computes the statistics that given parameters have on the first training images, as inference sees those.

    Neither augmentation nor dropout and stochastic depth take part. The images are the same each time, so the result
    follows from the parameters alone. Layers that are frozen keep the statistics they have.
    """

    def __init__(self, model: nn.Module, pipeline: Pipeline, batch_size: int, freezing: Freezing = NOTHING_FROZEN):
        """Prepares it for batches of `batch_size` images, which a split has at least and all devices share."""

        def statistics(params: Any, batch_stats: Any, window: Window) -> Any:
            images = pipeline.eval_batch(window, batch_size)["image"]
            return of_batch(model, {"params": params, "batch_stats": batch_stats}, images, freezing)

        self._statistics = jax.jit(statistics, out_shardings=sharding.replicated(pipeline.mesh))
        self._batch_size, self._frozen = batch_size, freezing.norms

    def __call__(self, params: Any, batch_stats: Any, source: Source) -> Any:
        """Returns "batch_stats" for `params`, on the host.

        Args:
          params: of the model, on all devices.
          batch_stats: what frozen layers use and keep.
          source: the training split.
        """
        kept = flatten_dict(jax.device_get(batch_stats))
        if all(path[:-1] in self._frozen for path in kept):
            return unflatten_dict(kept)
        num_batches = min(-(-NUM_IMAGES // self._batch_size), source.count // self._batch_size)
        batches = []
        for window in source.windows(self._batch_size, num_batches):
            batches.append(self._statistics(params, batch_stats, window))
            if len(batches) > MAX_QUEUED_DISPATCHES:
                jax.block_until_ready(batches[-1 - MAX_QUEUED_DISPATCHES])
        found = flatten_dict(joint(jax.device_get(batches)))
        return unflatten_dict({path: kept[path] if path[:-1] in self._frozen else found[path] for path in kept})


def _interceptor(freezing: Freezing) -> Callable[..., Any]:
    """Interceptor of Flax: calls BatchNorm, where it is not frozen, with `train=True`."""

    def at_work(call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        if not isinstance(context.module, BatchNorm) or context.module.path in freezing.norms:
            return call(*arguments, **options)
        x, _, *factors = arguments
        return call(x, True, *factors)

    return at_work
