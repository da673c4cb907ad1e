"""From a weight file of another implementation to a checkpoint of this project, every tensor accounted for."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from effnet_jax.architecture import catalog
from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models import layers
from effnet_jax.models.channels import adapted_constants
from effnet_jax.models.loaded import Loaded
from effnet_jax.pretrained import readers, timm
from effnet_jax.pretrained.labels import IMAGENET_CLASSES, class_names
from effnet_jax.pretrained.matching import Match, looks_like, match
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.sources import Settings, Source, Tensors
from effnet_jax.pretrained.variables import CLASSIFIER, Variable
from effnet_jax.process import environment

MAX_NAMES_SHOWN, FEW_NAMES = 20, 2


@dataclasses.dataclass(frozen=True)
class Imported:
    """Weights in our layout, and what became of each tensor.

    Attributes:
      variables: {"params", "batch_stats"}, float32.
      metadata: of the checkpoint.
      tensors: how many the file gave.
      initialised: tensors that it lacked, by their names in the source.
      identities: blocks made the identity because tensors of theirs are among `initialised`.
      ema: whether they are moving averages.
      other: whether the file holds the other of raw and averaged weights as well.
    """

    variables: dict[str, Any]
    metadata: dict[str, Any]
    tensors: int
    initialised: tuple[str, ...]
    identities: tuple[str, ...]
    ema: bool
    other: bool

    def loaded(self) -> Loaded:
        """Returns what `checkpoint.load` gives of a checkpoint; a `Classifier` can be made of it."""
        return Loaded(self.variables, self.metadata, step=0, ema=self.ema)

    def report(self) -> str:
        """Says in a few lines what was imported."""
        model, source = self.metadata["model"], self.metadata["source"]
        preprocess = self.metadata["preprocess"]
        lines = [
            f"tensors        {self.tensors} of {source['name']}'s {source['model']} from {source['file']}",
            f"weights        {_weights(self.ema, self.other)}",
            f"model          {model['name']}, {model['num_classes']} classes, {_channels(model['in_channels'])}"
            f"{model['padding']} padding, "
            f"BatchNorm epsilon {model['bn_epsilon']:g}",
            f"preprocessing  {preprocess['resolution']} px, crop {preprocess['crop_fraction']:.3f}, "
            f"mean {_numbers(preprocess['mean'])}, std {_numbers(preprocess['std'])}",
        ]
        if self.initialised:
            lines.append(f"initialised    {', '.join(self.initialised)}: not in the file")
        lines += [f"identity       {block}: a residual block that lacks tensors" for block in self.identities]
        return "\n".join(lines)


def import_weights(
    source_name: str,
    path: pathlib.Path,
    model: str,
    *,
    allow_missing: str = "",
    num_classes: int = IMAGENET_CLASSES,
    class_names_file: str = "",
    resolution: int | None = None,
    crop_fraction: float | None = None,
    weights: str = "selected",
    settings: Settings | None = None,
) -> Imported:
    """Reads a weight file and converts it.

    Args:
      source_name: "timm", "torchvision", "lukemelas", "keras" or "tensorflow".
      path: the file; for TensorFlow the prefix of the checkpoint.
      model: the model's name in the source, e.g. "tf_efficientnet_b4" in timm.
      allow_missing: regular expression, searched in their names, of tensors that the file may lack. They are
        initialised, and a residual block that lacks any becomes the identity.
      num_classes: width of the classifier where the file has none.
      class_names_file: one name a line; empty for ImageNet's at 1000 classes, else numbers.
      resolution: side in pixels of what the model sees; None as the source evaluates it.
      crop_fraction: share of the shorter side that the central crop keeps; None as the source evaluates it.
      weights: "raw", "ema", or "selected" for the averages where the file holds both.
      settings: what the model is and how it sees an image; None as the source says it of `model`.

    Raises:
      UserError: the file cannot be read, is another model's, or holds too little, too much or NaN.
    """
    source = SOURCES[source_name]
    settings = settings or source.settings(model)
    held = readers.read(path, weights)
    tensors = held.tensors
    matched = match(source, settings.model, tensors, num_classes)
    allowed = tuple(name for name in matched.missing if _allows(allow_missing, name))
    matched = matched.without(allowed)
    if matched.problems:
        raise UserError(_refusal(path, source_name, model, tensors, matched))
    preprocess = _preprocess(source, settings, tensors, matched.in_channels, resolution, crop_fraction)
    initialised = [matched.expected[name] for name in allowed]
    arrays = _converted(source, matched, path) | _initial(initialised)
    identities = _make_identities(settings.model, arrays, {variable.block for variable in initialised})
    return Imported(
        variables=unflatten_dict({tuple(name.split("/")): array for name, array in arrays.items()}),
        metadata={
            "model": {
                "name": settings.model,
                "num_classes": matched.num_classes,
                "in_channels": matched.in_channels,
                "padding": settings.padding,
                "bn_epsilon": settings.bn_epsilon,
            },
            "preprocess": dataclasses.asdict(preprocess),
            "class_names": class_names(matched.num_classes, class_names_file),
            "selected_weights": "ema" if held.ema else "raw",
            "versions": environment.versions(),
            "source": {"name": source_name, "model": model, "file": path.name, "initialised": list(allowed)},
        },
        tensors=len(matched.found),
        initialised=allowed,
        identities=identities,
        ema=held.ema,
        other=held.other,
    )


def _refusal(path: pathlib.Path, source_name: str, model: str, tensors: Tensors, matched: Match) -> str:
    what = f"{path.name} does not hold the tensors of {source_name}'s {model}"
    if matched.lacks_only_the_classifier:
        layer = matched.missing[0].rpartition(".")[0] or matched.missing[0].rpartition("/")[0]
        return (
            f"{path.name} holds no classifier, as of a model made with num_classes=0: give --allow_missing={layer} for "
            "a new one of --num_classes outputs, which is to be trained"
        )
    better = looks_like(tensors, matched)
    if better is None:
        return f"{what}: {matched.describe(MAX_NAMES_SHOWN)}"
    their_source, their_model = better
    if their_source == timm.SOURCE.name and model.startswith(timm.TF_PREFIX):
        their_model = timm.TF_PREFIX + their_model  # the same tensors under both of timm's names
    return (
        f"{what}; these look like {their_model}'s weights as {their_source} names them: use "
        f"--from={their_source} --model={their_model} ({matched.describe(FEW_NAMES)})"
    )


def _allows(pattern: str, name: str) -> bool:
    try:
        return bool(pattern) and re.search(pattern, name) is not None
    except re.error as error:
        raise UserError(f"--allow_missing={pattern} is no regular expression ({error})") from error


def _converted(source: Source, matched: Match, path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns {our path: float32 array}; refuses values no trained network has."""
    arrays, bad = {}, []
    for name, array in matched.found.items():
        variable = matched.expected[name]
        with np.errstate(over="ignore"):  # what overflows is refused below
            values = np.ascontiguousarray(source.layout.from_file(variable, array), np.float32)
        if not np.isfinite(values).all() or (variable.leaf == "var" and (values < 0).any()):
            bad.append(name)
        arrays[variable.path] = values
    if bad:
        raise UserError(
            f"{path.name} holds NaN, infinity or a negative variance in {len(bad)} tensors, first in {bad[0]}; "
            "the file is damaged or its training diverged"
        )
    return arrays


def _initial(missing: Sequence[Variable]) -> dict[str, np.ndarray]:
    """Initialises variables as the models do."""
    arrays = {}
    for index, variable in enumerate(missing):
        key = jax.random.fold_in(jax.random.key(0), index)
        shape = variable.shape
        if variable.leaf in ("scale", "var"):
            array = np.ones(shape)
        elif variable.leaf != "kernel":
            array = np.zeros(shape)
        elif variable.layer == CLASSIFIER:
            array = layers.dense_init(key, shape, np.float32)
        elif variable.layer.endswith("depthwise_conv"):
            array = layers.depthwise_init(key, shape, np.float32)
        else:  # a squeeze-and-excitation matrix is a 1x1 convolution
            full = (1, 1, *shape) if len(shape) == 2 else shape
            array = np.reshape(layers.conv_init(key, full, np.float32), shape)
        arrays[variable.path] = np.asarray(array, np.float32)
    return arrays


def _make_identities(model: str, arrays: dict[str, np.ndarray], blocks: set[str]) -> tuple[str, ...]:
    """Zeroes the last convolution and BatchNorm of each residual block among `blocks`; returns their names."""
    ends = {name: end for name, end in catalog.architecture(model).residual_ends.items() if name in blocks}
    for name, end in ends.items():
        for array in ("conv/kernel", "bn/scale", "bn/bias"):
            path = f"params/{name}/{end}_{array}"
            arrays[path] = np.zeros_like(arrays[path])
    return tuple(ends)


def _preprocess(
    source: Source,
    settings: Settings,
    tensors: Tensors,
    in_channels: int,
    resolution: int | None,
    crop_fraction: float | None,
) -> Preprocess:
    mean, std = source.normalization(tensors) or (settings.mean, settings.std)
    resolution = settings.resolution if resolution is None else resolution
    crop_fraction = settings.crop_fraction if crop_fraction is None else crop_fraction
    if resolution < 1 or not 0 < crop_fraction <= 1:
        raise UserError(
            f"resolution must be positive and crop_fraction in (0, 1], got {resolution} and {crop_fraction}"
        )
    mean, std = (adapted_constants(values, in_channels) for values in (mean, std))
    return Preprocess(resolution, mean, std, crop_fraction, settings.interpolation)


def _weights(ema: bool, other: bool) -> str:
    taken, left = ("moving averages (ema)", "raw") if ema else ("raw", "ema")
    return f"{taken}; the file holds {left} ones as well" if other else taken


def _channels(in_channels: int) -> str:
    return "" if in_channels == IN_CHANNELS else f"{in_channels} image channels, "


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
