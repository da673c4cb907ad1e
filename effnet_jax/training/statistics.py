"""BatchNorm's moving statistics that do not lag behind the weights they belong to.

They start at 0 and 1, of which momentum .99 still holds 5 % after 300 updates: a step moves them by a ramp that forgets
its start. They stay a hundred updates behind weights that move fast, and averaged weights are another network than
any whose activations were seen in training: before each validation the statistics of both are computed anew from
training images (Wu & Johnson 2021, arXiv 2105.07576, section 3).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax.data.device.feeds import Source
from effnet_jax.data.device.pipeline import Pipeline, Window
from effnet_jax.models.layers import BatchNorm
from effnet_jax.process import sharding
from effnet_jax.process.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training.freezing import NOTHING_FROZEN, Freezing
from effnet_jax.training.state import TrainState, joined

# How many training images statistics are computed from, rounded up to whole batches; fewer than twice as many are taken
# all. On CIFAR-100 twice as many change validation by up to a quarter of a point, half as many by up to half a point.
NUM_IMAGES = 1000


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

    The variance of all examples around their common mean is that within the batches and that between them. In float64
    equal float32 values, those of a frozen layer, average to themselves.

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
    """Computes the statistics that weights have on the first training images, as inference sees those.

    Neither augmentation nor dropout and stochastic depth take part. The images are the same each time, so the result
    follows from the parameters alone. Layers that are frozen keep the statistics they have.
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Pipeline,
        source: Source,
        batch_size: int,
        freezing: Freezing = NOTHING_FROZEN,
        num_images: int = NUM_IMAGES,
    ):
        """Prepares it.

        Args:
          model: as inference uses it.
          pipeline: makes batches of what `source` gives.
          source: the training split.
          batch_size: images at a time, at most as many as `source` has: all devices share them.
          freezing: what is not trained.
          num_images: how many are wanted; whole batches are read.
        """

        def statistics(variables: dict[str, Any], window: Window) -> Any:
            return of_batch(model, variables, pipeline.eval_batch(window, batch_size)["image"], freezing)

        self._statistics = jax.jit(statistics, out_shardings=sharding.replicated(pipeline.mesh))
        self._source, self._mesh, self._frozen = source, pipeline.mesh, freezing.norms
        self._batch_size = batch_size
        whole = source.count // batch_size
        self._num_batches = whole if source.count < 2 * num_images else min(-(-num_images // batch_size), whole)

    def __call__(self, state: TrainState) -> TrainState:
        """Returns the state with new statistics for its weights and for their moving averages."""
        place = functools.partial(sharding.put_replicated, mesh=self._mesh)
        if state.ema is None:
            (raw,) = self.of([state.variables])
            return state.replace(batch_stats=place(raw))
        averaged = state.averaged_variables()
        raw, of_averaged = self.of([state.variables, place(averaged)])
        return state.replace(batch_stats=place(raw), ema=place(joined(averaged | {"batch_stats": of_averaged})))

    def of(self, weights: Sequence[dict[str, Any]]) -> list[Any]:
        """Returns the statistics, on the host, of each of several {"params", "batch_stats"} on all devices."""
        if all(path[:-1] in self._frozen for path in flatten_dict(weights[0]["batch_stats"])):
            return [jax.device_get(variables["batch_stats"]) for variables in weights]
        batches = []
        for window in self._source.windows(self._batch_size, self._num_batches):
            batches.append([self._statistics(variables, window) for variables in weights])
            if len(batches) > MAX_QUEUED_DISPATCHES:
                jax.block_until_ready(batches[-1 - MAX_QUEUED_DISPATCHES])
        return [joint(several) for several in zip(*jax.device_get(batches))]


def _interceptor(freezing: Freezing) -> Callable[..., Any]:
    """Interceptor of Flax: calls BatchNorm, where it is not frozen, with `train=True`."""

    def at_work(call: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], context: Any) -> Any:
        if not isinstance(context.module, BatchNorm) or context.module.path in freezing.norms:
            return call(*arguments, **options)
        x, _, *factors = arguments
        return call(x, True, *factors)

    return at_work
