"""Starting from other weights: the checkpoint that `config.init_from` names."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax.architecture.description import Architecture
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models.channels import adapted_kernel
from effnet_jax.models.registry import create_model
from effnet_jax.pretrained.variables import variables
from effnet_jax.training import checkpoint
from effnet_jax.training.freezing import Path

CLASSIFIER = "classifier"
STEM = ("params", "stem", "conv", "kernel")
MAX_NAMES_SHOWN = 5
SHAPING_KEYS = ("name", "width_multiplier", "depth_multiplier")  # of config.model


@dataclasses.dataclass(frozen=True)
class Origin:
    """A checkpoint to start from: a run of this project, imported weights, or those of a name.

    Weights mean something only together with the normalisation of the images they were trained on, and with the
    padding and epsilon that the model computes with. No shape would reveal a mistake there, so all three are taken
    from the checkpoint, whatever the data set, and a config that says otherwise is refused.

    Attributes:
      path: what `config.init_from` or `create_model` says.
      loaded: the checkpoint.
      model: the checkpoint's model.
      preprocess: the checkpoint's preprocessing.
    """

    path: str
    loaded: checkpoint.Loaded
    model: nn.Module
    preprocess: Preprocess

    @classmethod
    def load(cls, path: str) -> "Origin":
        """Reads a checkpoint: its EMA where that did better on validation.

        Raises:
          UserError: there is none.
        """
        loaded = checkpoint.load(path)
        return cls(path, loaded, create_model(**loaded.metadata["model"]), Preprocess(**loaded.metadata["preprocess"]))

    def completed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns options of `create_model` with the checkpoint's padding and BatchNorm epsilon.

        Raises:
          UserError: the options ask for others.
        """
        completed = dict(options)
        for key in ("padding", "bn_epsilon"):
            theirs = getattr(self.model.numerics, key)
            if completed[key] not in (None, theirs):
                raise UserError(
                    f"{key} is {completed[key]} but the weights of {self.path} were trained with {theirs}: leave it "
                    f"unset or make it {theirs} (--config.model.{key}={theirs})"
                )
            completed[key] = theirs
        return completed

    def start(self, model: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns {"params", "batch_stats"} for `model`; the classifier is kept where it has as many classes.

        Args:
          model: the model that is to start with them.
          options: see `kept`.

        Raises:
          UserError: see `kept`.
        """
        listed = variables(model.architecture, model.num_classes)
        shapes = {tuple(v.path.split("/")): jax.ShapeDtypeStruct(v.shape, np.float32) for v in listed}
        keep = model.num_classes == len(self.loaded.metadata["class_names"])
        return unflatten_dict(self.kept(unflatten_dict(shapes), keep, options))

    def kept(self, shapes: Any, keep_classifier: bool, options: Mapping[str, Any]) -> dict[Path, np.ndarray]:
        """Returns the variables to start with by path: the checkpoint's, and zeros for a classifier of other classes.

        The stem is adapted to other channels of the images; see `adapted_kernel`.

        The published initialisation is the noisier the fewer the classes are: in a short probe of 20 it cost two points
        of accuracy. Zeros are what BiT (arXiv 1912.11370) starts a new head with.

        Args:
          shapes: the variables of the model to be trained, or their shapes.
          keep_classifier: whether the model tells the checkpoint's classes apart.
          options: what the model to be trained was created with.

        Raises:
          UserError: variables do not fit, the classifier and the stem's channels aside.
        """
        loaded, expected = flatten_dict(self.loaded.variables), flatten_dict(shapes)
        fresh = {}
        if not keep_classifier:
            fresh = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in expected.items() if CLASSIFIER in path}
            loaded, expected = _without_classifier(loaded), _without_classifier(expected)
        if STEM in loaded and STEM in expected:
            loaded[STEM] = adapted_kernel(np.asarray(loaded[STEM]), expected[STEM].shape[2])
        problems = [f"missing {_name(path)}" for path in expected.keys() - loaded.keys()]
        problems += [f"unexpected {_name(path)}" for path in loaded.keys() - expected.keys()]
        for path in expected.keys() & loaded.keys():
            theirs, ours = loaded[path].shape, expected[path].shape
            if theirs != ours:
                problems.append(f"{_name(path)} {list(theirs)} for {list(ours)}")
        if problems:
            stored = self.loaded.metadata["model"]
            differing = [key for key in SHAPING_KEYS if key in stored and stored[key] != options[key]]
            advice = " ".join(f"--config.model.{key}={stored[key]}" for key in differing)
            raise UserError(
                f"{self.path} holds the weights of another model, {stored['name']}: {len(problems)} "
                f"variables do not fit ({'; '.join(sorted(problems)[:MAX_NAMES_SHOWN])}); set "
                + (advice or "the model's options as that checkpoint has them, or give other weights")
            )
        return {path: np.asarray(array) for path, array in loaded.items()} | fresh

    def keeps_classifier(self, class_names: Sequence[str]) -> bool:
        """Whether the checkpoint's model tells the same classes apart, in the same order."""
        return tuple(self.loaded.metadata["class_names"]) == tuple(class_names)

    def describe(self, model: nn.Module, class_names: Sequence[str]) -> list[str]:
        """Says in a line or two what is taken over and what is not."""
        figures = lambda values: " ".join(f"{value:.3f}" for value in values)  # noqa: E731
        before = len(self.loaded.metadata["class_names"])
        head = "the same" if self.keeps_classifier(class_names) else f"new, for {len(class_names)} classes ({before})"
        lines = [
            f"from      {self.path}{' (ema)' if self.loaded.ema else ''}: mean {figures(self.preprocess.mean)}, "
            f"std {figures(self.preprocess.std)}, {model.numerics.padding} padding, "
            f"BatchNorm epsilon {model.numerics.bn_epsilon:g}; classifier {head}"
        ]
        ours, theirs = model.architecture, self.model.architecture
        if ours.in_channels != theirs.in_channels:
            lines.append(f"stem      adapted from {theirs.in_channels} channels to {ours.in_channels}")
        if _strides(ours) != _strides(theirs):
            lines.append("strides   differ from those that the weights were trained with")
        return lines


def _without_classifier(leaves: dict[Path, Any]) -> dict[Path, Any]:
    return {path: leaf for path, leaf in leaves.items() if CLASSIFIER not in path}


def _strides(arch: Architecture) -> list[int]:
    return [layer.stride for layer in arch.count(1, 1).layers]


def _name(path: Path) -> str:
    return "/".join(path)
