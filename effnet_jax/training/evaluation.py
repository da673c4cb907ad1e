"""Exact evaluation of a split: padded, masked, every example once on any number of devices."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from effnet_jax.data import datasets
from effnet_jax.data.device.feeds import Source
from effnet_jax.data.device.pipeline import Pipeline, Window
from effnet_jax.process import sharding
from effnet_jax.process.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training import metrics
from effnet_jax.training.step import make_eval_step


class Evaluator:
    """Evaluates variables of one model on splits."""

    def __init__(self, model: nn.Module, pipeline: Pipeline, batch_size: int):
        eval_step = make_eval_step(model)

        def step(variables: Any, window: Window) -> dict[str, jax.Array]:
            return eval_step(variables, pipeline.eval_batch(window, batch_size))

        self._step = jax.jit(step, out_shardings=sharding.replicated(pipeline.mesh))
        self._batch_size, self._num_classes = batch_size, pipeline.num_classes

    def __call__(self, weights: Sequence[Any], source: Source) -> list[dict[str, float]]:
        """Returns "count" and `metrics.rates` over all examples for each of several variables."""
        batches = []
        for window in source.windows(self._batch_size):
            batches.append([self._step(variables, window) for variables in weights])
            if len(batches) > MAX_QUEUED_DISPATCHES:
                jax.block_until_ready(batches[-1 - MAX_QUEUED_DISPATCHES])
        return [self._figures(sums) for sums in zip(*jax.device_get(batches))]

    def _figures(self, batches: Sequence[dict[str, Any]]) -> dict[str, float]:
        sums = {key: sum(batch[key].item() for batch in batches) for key in batches[0]}
        return {"count": sums["count"], **metrics.rates(sums, self._num_classes)}


def load_dataset(options: ml_collections.ConfigDict) -> datasets.Dataset:
    """Loads the data set that `config.dataset` names."""
    return datasets.load(**options)
