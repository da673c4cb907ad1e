"""What a source of weights is: names of layers, layout of arrays, and how its models see an image."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from effnet_jax.architecture import catalog, scaling
from effnet_jax.architecture.description import Architecture
from effnet_jax.data.sets.registry import IMAGENET_MEAN, IMAGENET_STD
from effnet_jax.pretrained.variables import CLASSIFIER, Variable

Tensors = dict[str, np.ndarray]
Channels = tuple[float, ...]

INCEPTION_MEAN = INCEPTION_STD = (0.5, 0.5, 0.5)
CROP_PADDING = 32  # the authors' evaluation: a central crop of resolution / (resolution + 32)
TF_BN_EPSILON, TORCH_BN_EPSILON = catalog.TENSORFLOW[1], catalog.PYTORCH[1]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a source's model is, apart from its weights.

    Attributes:
      model: name in our catalog.
      padding, bn_epsilon: of `create_model`.
      resolution, crop_fraction, mean, std, interpolation: of `Preprocess`, as the source evaluates the model.
    """

    model: str
    padding: str
    bn_epsilon: float
    resolution: int
    crop_fraction: float
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    interpolation: str = "bicubic"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a framework names and stores the arrays of a layer.

    Attributes:
      leaves: our leaf -> end of their name, for convolutions and dense layers.
      batch_norm_leaves: the same for BatchNorm.
      depthwise_leaf: end of the name of a depthwise kernel.
      to_file, from_file: (variable, array) -> the same array in their layout, in ours.
    """

    leaves: dict[str, str]
    batch_norm_leaves: dict[str, str]
    depthwise_leaf: str
    to_file: Callable[[Variable, np.ndarray], np.ndarray]
    from_file: Callable[[Variable, np.ndarray], np.ndarray]

    def leaf(self, variable: Variable) -> str:
        if variable.layer.endswith("depthwise_conv"):
            return self.depthwise_leaf
        return (self.batch_norm_leaves if variable.is_batch_norm else self.leaves)[variable.leaf]

    def file_shape(self, variable: Variable) -> tuple[int, ...]:
        """Returns the shape that `variable` has in a file."""
        return self.to_file(variable, np.broadcast_to(np.float32(0), variable.shape)).shape


@dataclasses.dataclass(frozen=True)
class Source:
    """An implementation that weights come from.

    Attributes:
      name: as in `--from`.
      layout: of its files.
      settings: their model name -> what that model is; raises `UserError` for an unknown one.
      layers: architecture -> {our layer: their layer}.
      ignored: regular expression of tensors that a file may hold and the model does not need.
      rename: (tensors of a file, architecture) -> the same under the names that `layers` gives.
      normalization: tensors of a file -> mean and std, as fractions of 255, where the file has its own.
      models: those of ours that it has.
    """

    name: str
    layout: Layout
    settings: Callable[[str], Settings]
    layers: Callable[[Architecture], dict[str, str]]
    ignored: str
    rename: Callable[[Tensors, Architecture], Tensors] = lambda tensors, arch: tensors
    normalization: Callable[[Tensors], tuple[Channels, Channels] | None] = lambda tensors: None
    models: Sequence[str] = tuple(scaling.FAMILY)

    def names(self, arch: Architecture, variables: list[Variable]) -> dict[str, Variable]:
        """Returns {their tensor name: our variable}."""
        layers = self.layers(arch)
        return {layers[variable.layer] + self.layout.leaf(variable): variable for variable in variables}


def _torch_to_file(variable: Variable, array: np.ndarray) -> np.ndarray:
    if variable.leaf != "kernel":
        return array
    if array.ndim == 4:  # [k, k, in, out] -> [out, in, k, k]; depthwise [k, k, 1, C] -> [C, 1, k, k]
        return array.transpose(3, 2, 0, 1)
    return array.T if variable.layer == CLASSIFIER else array.T[:, :, None, None]


def _torch_from_file(variable: Variable, array: np.ndarray) -> np.ndarray:
    if variable.leaf != "kernel":
        return array
    if len(variable.shape) == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if variable.layer == CLASSIFIER else array[:, :, 0, 0].T


def _tensorflow_to_file(variable: Variable, array: np.ndarray) -> np.ndarray:
    if variable.layer.endswith("depthwise_conv"):  # [k, k, 1, C] -> [k, k, C, 1]
        return array.transpose(0, 1, 3, 2)
    if variable.is_squeeze_excite and variable.leaf == "kernel":
        return array[None, None]
    return array


def _tensorflow_from_file(variable: Variable, array: np.ndarray) -> np.ndarray:
    if variable.layer.endswith("depthwise_conv"):
        return array.transpose(0, 1, 3, 2)
    if variable.is_squeeze_excite and variable.leaf == "kernel":
        return array[0, 0]
    return array


TORCH = Layout(
    leaves={"kernel": ".weight", "bias": ".bias"},
    batch_norm_leaves={"scale": ".weight", "bias": ".bias", "mean": ".running_mean", "var": ".running_var"},
    depthwise_leaf=".weight",
    to_file=_torch_to_file,
    from_file=_torch_from_file,
)
TORCH_IGNORED = r"\.num_batches_tracked$"
KERAS = Layout(
    leaves={"kernel": "/kernel", "bias": "/bias"},
    batch_norm_leaves={
        "scale": "/gamma",
        "bias": "/beta",
        "mean": "/moving_mean",
        "var": "/moving_variance",
    },
    depthwise_leaf="/kernel",
    to_file=_tensorflow_to_file,
    from_file=_tensorflow_from_file,
)
TENSORFLOW = dataclasses.replace(KERAS, depthwise_leaf="/depthwise_kernel")


def family_name(name: str) -> str:
    """Returns our spelling of "efficientnet-b4", "EfficientNetB4" and the like."""
    return re.sub(r"^efficientnet[-_]?", "efficientnet_", name.lower())


def authors_settings(name: str) -> Settings:
    """The authors' models: SAME padding, BatchNorm epsilon 1e-3, crop of resolution / (resolution + 32)."""
    model = family_name(name)
    resolution = scaling.variant(model).resolution
    return Settings(model, "SAME", TF_BN_EPSILON, resolution, resolution / (resolution + CROP_PADDING))
