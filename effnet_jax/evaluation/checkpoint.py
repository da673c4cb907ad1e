"""Evaluating a checkpoint: on the data set it was trained on, or on any other whose classes it knows."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from effnet_jax.data import datasets
from effnet_jax.data.decode.encoded import EncodedSplit
from effnet_jax.data.device.pipeline import Pipeline
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.device.sources import open_split
from effnet_jax.data.disk import files
from effnet_jax.data.sets import folder_layout
from effnet_jax.data.sets.splits import Dataset, Split
from effnet_jax.errors import UserError
from effnet_jax.evaluation import report as report_lib
from effnet_jax.evaluation.classes import UNKNOWN, in_short, matched
from effnet_jax.evaluation.examples import walk
from effnet_jax.models import folding
from effnet_jax.models.registry import create_model
from effnet_jax.process import distributed, lock, memory, sharding
from effnet_jax.training import checkpoint
from effnet_jax.training.evaluation import load_dataset

SPLITS = ("train", "validation", "test")


def evaluate_checkpoint(
    path: str | pathlib.Path,
    split: str = "test",
    batch_size: int = 512,
    weights: str = "selected",
    data_dir: str | None = None,
    *,
    dataset: str | None = None,
    report: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint.

    Args:
      path: a run's workdir, its checkpoints folder, one step of it, or the name of a model.
      split: "train", "validation" or "test".
      batch_size: images at a time, over all devices.
      weights: "raw", "ema", or "selected" for whichever did better on validation.
      data_dir: where the prepared data lies now, if not where the run found it.
      dataset: another data set, as `config.dataset.name` names it; its classes are matched by name. Of a folder
        without splits, "folder:PATH" with PATH/<class>/*, all images are taken.
      report: a folder for accuracy by class, confusion matrix, calibration and the most confident mistakes.

    Returns:
      {"split", "count", "loss", "accuracy", "top5_accuracy" where there are more than five classes, "step", "ema"},
      with `dataset` its name, and with `report` "expected_calibration_error".

    Raises:
      UserError: no checkpoint, no data, no class that the network knows, or a batch that the devices cannot share.
    """
    loaded = checkpoint.load(path, weights)
    mesh = sharding.data_mesh()
    if batch_size % mesh.size:
        raise UserError(f"a batch of {batch_size} cannot be shared evenly by {mesh.size} devices")
    preprocess = Preprocess(**loaded.metadata["preprocess"])
    names = tuple(loaded.metadata["class_names"])
    data, part = _data(path, loaded, split, data_dir, dataset, preprocess)
    classes = matched(names, data.class_names) if dataset else np.arange(len(names), dtype=np.int32)
    _name_unknown(data, part, classes)
    if dataset is None or not isinstance(part, Split):  # else images are whole, and cut as for a prediction
        preprocess = preprocess.of_cut_images()
    pipe = Pipeline(mesh, preprocess, augment=None, num_classes=len(names))
    model = create_model(**loaded.metadata["model"])
    variables = folding.fold(model, loaded.variables, lambda array: sharding.put_replicated(array, mesh))
    loaded = dataclasses.replace(loaded, variables={})  # not a second time beside those on the devices
    with memory.enough_for(f"a batch of {batch_size} images", "lower --batch_size"):
        examples = walk(model, variables, pipe, open_split(part, mesh), batch_size, classes)
    found = {"split": split, **examples.figures(len(names)), "step": loaded.step, "ema": loaded.ema}
    if dataset is not None:
        found = {"dataset": dataset, **found}
    if report is not None:
        found["expected_calibration_error"] = examples.calibration_error()
        if distributed.is_first():
            folder, labels = pathlib.Path(report).expanduser(), np.unique(classes[classes != UNKNOWN])
            with lock.hold_folder(folder, "writing a report into", "--report", wait=True):
                report_lib.write(examples, names, labels, part.images.__getitem__, found, folder)
    return found


def _data(
    path: Any, loaded: checkpoint.Loaded, split: str, data_dir: str | None, dataset: str | None, preprocess: Preprocess
) -> tuple[Dataset, Any]:
    """Returns a data set and the split of it that is wanted."""
    if dataset is None:
        if "config" not in loaded.metadata:
            raise UserError(f"{path} holds imported weights, which name no data set to evaluate on: give --dataset")
        options = ml_collections.ConfigDict(loaded.metadata["config"]["dataset"])
        if data_dir is not None:
            options.data_dir = data_dir
        data = load_dataset(options)
        return data, data.split(split)
    is_folder = folder_layout.is_folder(dataset)
    data = datasets.load(
        dataset,
        data_dir=data_dir or "",
        resolution=preprocess.resolution,
        crop_fraction=preprocess.crop_fraction,
        streaming=True if is_folder else None,
    )
    if is_folder and folder_layout.own_splits(dataset) == ("train",):
        return data, _joined([data.splits[name] for name in SPLITS])
    return data, data.split(split)


def _joined(parts: Sequence[EncodedSplit]) -> EncodedSplit:
    """Returns parts of one split as one, in the order of their files."""
    numbers, labels = (np.concatenate([getattr(part, key) for part in parts]) for key in ("numbers", "labels"))
    order = np.argsort(numbers)
    return dataclasses.replace(parts[0], numbers=numbers[order], labels=labels[order])


def _name_unknown(data: Dataset, part: Any, classes: np.ndarray) -> None:
    unknown = np.flatnonzero(classes == UNKNOWN)
    if len(unknown):
        images = int(np.isin(part.labels, unknown).sum())
        names = in_short([data.class_names[label] for label in unknown])
        files.say(f"the network does not know {names}: {images} images of {len(unknown)} classes are left out")
