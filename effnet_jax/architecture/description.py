"""What every model's plain-Python description offers: named layers, sizes of maps, exact counts (no JAX)."""

import abc
import dataclasses

from effnet_jax.errors import UserError, did_you_mean

HEAD = "head"  # the layer whose map is pooled and classified
IN_CHANNELS = 3  # of an image, where nothing else is said


def ceil_div(a: int, b: int) -> int:
    """Output size of a convolution of stride `b` on `a` pixels, under SAME and symmetric padding alike."""
    return -(-a // b)


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """Counts of one layer: the stem, a block, the head convolution or the classifier."""

    name: str
    stage: int  # layers of one number stand together, in order: 0 is the stem, the last one the classifier
    operator: str
    kernel_size: int
    stride: int
    output_size: int  # side of the square output map in pixels
    output_filters: int
    parameters: int  # trainable
    batch_stats: int  # moving means and variances
    macs: int  # multiply-adds per image
    receptive_field: int  # side in input pixels, squeeze-and-excitation (global) aside
    activations: int  # values per image that a training step's convolutions produce


@dataclasses.dataclass(frozen=True)
class Counts:
    """Per-layer counts and their totals; MACs are multiply-adds for one image (FLOPs are twice that)."""

    layers: tuple[LayerCount, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def batch_stats(self) -> int:
        return sum(layer.batch_stats for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)


class Architecture(abc.ABC):
    """A network as a chain of named layers, then pooling and a classifier.

    Attributes:
      in_channels: channels of an image.
      head_filters: channels of the head map.
      aliases: other names of layers; "stage3" is the last block of stage 3.
      residual_ends: the residual blocks with the prefix of their branch's last convolution and BatchNorm. Where
        that convolution, and that BatchNorm's scale and bias, are zero the block is the identity.
    """

    in_channels: int
    head_filters: int
    aliases: dict[str, str]
    residual_ends: dict[str, str]

    @property
    @abc.abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the feature maps in order; the last one is the head map."""

    @abc.abstractmethod
    def final_map(self, resolution: int) -> int:
        """Side in pixels of the head map for a square input of `resolution` pixels."""

    @abc.abstractmethod
    def count(self, resolution: int, num_classes: int) -> Counts:
        """Counts parameters, BatchNorm statistics and MACs for square inputs of `resolution` pixels.

        Convolutions, squeeze-and-excitation and the classifier are counted; BatchNorm, activations and
        pooling are not, as in the paper's Table 2.
        """

    def resolve_layer(self, name: str) -> str:
        """Returns the layer that `name` stands for; see `aliases`.

        Raises:
          UserError: there is no such layer.
        """
        if name in self.layer_names:
            return name
        if name in self.aliases:
            return self.aliases[name]
        known = [*self.layer_names, *self.aliases]
        raise UserError(f"no layer {name!r}{did_you_mean(name, known)}; the layers are {', '.join(known)}")


def check_in_channels(in_channels: int) -> None:
    """Raises a `UserError` where no image could have that many channels."""
    if in_channels < 1:
        raise UserError(f"in_channels is the number of channels of an image, at least 1, not {in_channels}")


def classifier_count(stage: int, filters: int, num_classes: int, receptive_field: int) -> LayerCount:
    """Counts global pooling and the dense layer behind the head map of `filters` channels."""
    return LayerCount(
        name="classifier",
        stage=stage,
        operator="Pool & Dense",
        kernel_size=1,
        stride=1,
        output_size=1,
        output_filters=num_classes,
        parameters=filters * num_classes + num_classes,
        batch_stats=0,
        macs=filters * num_classes,
        receptive_field=receptive_field,
        activations=filters + num_classes,
    )
