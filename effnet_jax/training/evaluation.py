"""Exact evaluation of a split: padded, masked, every example once on any number of devices."""

import pathlib
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from effnet_jax.data import datasets
from effnet_jax.data.device.feeds import Source
from effnet_jax.data.device.pipeline import Pipeline, Window
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.device.sources import open_split
from effnet_jax.errors import UserError
from effnet_jax.models.registry import create_model
from effnet_jax.process import sharding
from effnet_jax.process.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training import checkpoint, metrics
from effnet_jax.training.step import make_eval_step


class Evaluator:
    """Evaluates variables of one model on splits."""

    def __init__(self, model: nn.Module, pipeline: Pipeline, batch_size: int):
        eval_step = make_eval_step(model)

        def step(variables: Any, window: Window) -> dict[str, jax.Array]:
            return eval_step(variables, pipeline.eval_batch(window, batch_size))

        self._step = jax.jit(step, out_shardings=sharding.replicated(pipeline.mesh))
        self._batch_size = batch_size

    def __call__(self, weights: Sequence[Any], source: Source) -> list[dict[str, float]]:
        """Returns {"count", "loss", "accuracy", "top5_accuracy"} over all examples for each of several variables."""
        batches = []
        for window in source.windows(self._batch_size):
            batches.append([self._step(variables, window) for variables in weights])
            if len(batches) > MAX_QUEUED_DISPATCHES:
                jax.block_until_ready(batches[-1 - MAX_QUEUED_DISPATCHES])
        return [_figures(sums) for sums in zip(*jax.device_get(batches))]


def _figures(batches: Sequence[dict[str, Any]]) -> dict[str, float]:
    sums = {key: sum(batch[key].item() for batch in batches) for key in batches[0]}
    return {"count": sums["count"], **metrics.rates(sums)}


def load_dataset(options: ml_collections.ConfigDict) -> datasets.Dataset:
    """Loads the data set that `config.dataset` names."""
    return datasets.load(**options)


def evaluate_checkpoint(
    path: str | pathlib.Path,
    split: str = "test",
    batch_size: int = 512,
    weights: str = "selected",
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint on a split of the data set it was trained on.

    Args:
      path: a run's workdir, its checkpoints folder, or one step of it.
      split: "train", "validation" or "test".
      batch_size: images at a time, over all devices.
      weights: "raw", "ema", or "selected" for whichever did better on validation.
      data_dir: where the prepared data lies now, if not where the run found it.

    Returns:
      {"split", "count", "loss", "accuracy", "top5_accuracy", "step", "ema"}.

    Raises:
      UserError: no checkpoint, no data, no such split of it, or a batch that the devices cannot share.
    """
    loaded = checkpoint.load(path, weights)
    mesh = sharding.data_mesh()
    if batch_size % mesh.size:
        raise UserError(f"a batch of {batch_size} cannot be shared evenly by {mesh.size} devices")
    if "config" not in loaded.metadata:
        raise UserError(f"{path} holds imported weights, which name no data set to evaluate on")
    options = ml_collections.ConfigDict(loaded.metadata["config"]["dataset"])
    if data_dir is not None:
        options.data_dir = data_dir
    preprocess = Preprocess(**loaded.metadata["preprocess"])
    pipe = Pipeline(mesh, preprocess.of_cut_images(), augment=None, num_classes=len(loaded.metadata["class_names"]))
    model = create_model(**loaded.metadata["model"])
    source = open_split(load_dataset(options).split(split), mesh)
    (figures,) = Evaluator(model, pipe, batch_size)([sharding.put_replicated(loaded.variables, mesh)], source)
    return {"split": split, **figures, "step": loaded.step, "ema": loaded.ema}
