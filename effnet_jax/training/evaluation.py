"""Exact evaluation of a split: padded, masked, every example once on any number of devices."""

from typing import Any

import flax.linen as nn
import jax

from effnet_jax.data.pipeline import Pipeline, ResidentSplit
from effnet_jax.training import metrics
from effnet_jax.training.step import make_eval_step


class Evaluator:
    """Evaluates variables of one model on splits that live on the device."""

    def __init__(self, model: nn.Module, pipeline: Pipeline, batch_size: int):
        eval_step = make_eval_step(model)

        def step(variables: Any, split: ResidentSplit, start: jax.Array) -> dict[str, jax.Array]:
            return eval_step(variables, pipeline.eval_batch(split, start, batch_size))

        self._step = jax.jit(step)
        self._batch_size = batch_size

    def __call__(self, variables: Any, split: ResidentSplit) -> dict[str, float]:
        """Returns {"count", "loss", "accuracy", "top5_accuracy"} over all examples of `split`."""
        starts = range(0, split.count, self._batch_size)
        batches = jax.device_get([self._step(variables, split, start) for start in starts])
        sums = {key: sum(batch[key].item() for batch in batches) for key in batches[0]}
        return {"count": sums["count"], **metrics.rates(sums)}
