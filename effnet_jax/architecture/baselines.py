"""ResNet and DenseNet as plain-Python descriptions, with exact counts (no JAX).

The one home of their architecture: the Flax modules, the list of variables and the summaries all read the
`Baseline` made here. Sources: He et al. 2016 (arXiv 1512.03385), Table 1, in torchvision's version, whose
bottlenecks stride in the 3x3 convolution; Huang et al. 2017 (arXiv 1608.06993), Table 1, the DenseNet-BC.
"""

import dataclasses
import math
from typing import Literal

from effnet_jax.architecture import description as base
from effnet_jax.architecture.counting import Counter, Counts
from effnet_jax.architecture.scaling import round_repeats
from effnet_jax.errors import UserError

RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet152": (3, 8, 36, 3)}
DENSENET_BLOCKS = {"densenet201": (6, 12, 48, 32)}
NAMES = (*RESNET_BLOCKS, *DENSENET_BLOCKS)

RESOLUTION = 224  # pixels, as published
STEM_FILTERS = 64  # of a ResNet
STEM_STRIDES = (2, 1)  # the published stem, and the one for small images
BOTTLENECK_FILTERS = (64, 128, 256, 512)  # of the 3x3 convolution, by stage
BOTTLENECK_EXPANSION = 4
GROWTH_RATE = 32  # channels that each layer of a DenseNet adds
STEM_GROWTH = 2  # its stem gives this many times as many
GROWTH_EXPANSION = 4  # a layer's 1x1 convolution likewise
COMPRESSION = 2  # a transition divides the channels by this


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution and its BatchNorm, which stands after it in a ResNet and before it in a DenseNet."""

    name: str  # "reduce" for the modules "reduce_conv" and "reduce_bn"; empty for "conv" and "bn"
    kernel_size: int
    stride: int
    in_filters: int
    out_filters: int
    norm_filters: int
    shortcut: bool = False  # beside the others, from the layer's input

    @property
    def conv_name(self) -> str:
        return f"{self.name}_conv" if self.name else "conv"

    @property
    def norm_name(self) -> str:
        return f"{self.name}_bn" if self.name else "bn"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One named layer; `pool` comes last in it."""

    name: str
    stage: int  # as in `LayerCount`
    operator: Literal["Conv", "Bottleneck", "DenseLayer", "Transition", "BatchNorm"]
    out_filters: int
    convolutions: tuple[Convolution, ...] = ()
    own_norm_filters: int = 0  # of a BatchNorm "bn" without a convolution
    pool: Literal["", "max", "average"] = ""

    @property
    def module_name(self) -> str:
        """Of the Flax module, where `head` is a method."""
        return "head_norm" if self.name == base.HEAD else self.name

    def add_to(self, counter: Counter) -> None:
        """Counts the layer."""
        for conv in self.convolutions:
            counter.conv(conv.kernel_size, conv.in_filters, conv.out_filters, conv.stride, shortcut=conv.shortcut)
            counter.batch_norm(conv.norm_filters)
        counter.batch_norm(self.own_norm_filters)
        if self.pool == "max":
            counter.pool(3, 2, padded=True)
        elif self.pool == "average":
            counter.pool(2, 2, padded=False)
        counter.end_layer(self.name, self.stage, self.operator, self.out_filters)


@dataclasses.dataclass(frozen=True)
class Baseline(base.Architecture):
    """A chain of `layers`, then pooling and a classifier."""

    layers: tuple[Layer, ...]
    aliases: dict[str, str] = dataclasses.field(hash=False)  # what holds the architecture must be hashable: a module
    residual_ends: dict[str, str] = dataclasses.field(hash=False)  # of Flax is an argument of `jax.jit`

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def in_channels(self) -> int:
        return self.layers[0].convolutions[0].in_filters

    @property
    def head_filters(self) -> int:
        return self.layers[-1].out_filters

    def count(self, resolution: int, num_classes: int) -> Counts:
        counter = Counter(resolution)
        for layer in self.layers:
            layer.add_to(counter)
        return counter.finish(self.head_filters, num_classes)


def baseline(
    name: str,
    stem_stride: int = 2,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    in_channels: int = base.IN_CHANNELS,
) -> Baseline:
    """Returns "resnet50", "resnet152" or "densenet201", or a narrower, wider, shorter or deeper one of its kind.

    Args:
      name: which.
      stem_stride: 2 for the published stem (7x7 of stride 2 and max pooling), 1 for the one that small images
        want (3x3 of stride 1, no pooling).
      width_multiplier: factor on every filter count of a ResNet, stem included, and on the growth rate of a DenseNet,
        from which all of its filter counts follow; rounded to whole channels, at least one.
      depth_multiplier: factor on the number of blocks, or dense layers, of every stage, rounded up.
      in_channels: channels of an image.

    Raises:
      UserError: another stem stride, or a multiplier or a number of channels that is not positive.
    """
    base.check_in_channels(in_channels)
    if stem_stride not in STEM_STRIDES:
        raise UserError(f"stem_stride of {name} is 2 (published) or 1 (small images), not {stem_stride}")
    if width_multiplier <= 0 or depth_multiplier <= 0:
        raise UserError(f"width and depth multipliers must be positive, got {width_multiplier} and {depth_multiplier}")
    published = RESNET_BLOCKS[name] if name in RESNET_BLOCKS else DENSENET_BLOCKS[name]
    blocks = tuple(round_repeats(repeats, depth_multiplier) for repeats in published)
    if name in RESNET_BLOCKS:
        return _resnet(
            blocks, _stem(stem_stride, _scaled(STEM_FILTERS, width_multiplier), in_channels), width_multiplier
        )
    growth_rate = _scaled(GROWTH_RATE, width_multiplier)
    return _densenet(blocks, _stem(stem_stride, growth_rate * STEM_GROWTH, in_channels), growth_rate)


def _scaled(filters: int, width_multiplier: float) -> int:
    """To the nearest whole number: rounding to multiples of eight would leave few sizes of a narrow network."""
    return max(1, math.floor(filters * width_multiplier + 0.5))


def _stem(stride: int, filters: int, in_channels: int) -> Layer:
    published = stride == 2
    convolution = Convolution("", 7 if published else 3, stride, in_channels, filters, filters)
    return Layer("stem", 0, "Conv", filters, (convolution,), pool="max" if published else "")


def _resnet(blocks: tuple[int, ...], stem: Layer, width_multiplier: float) -> Baseline:
    layers, residual = [stem], {}
    for stage, (repeats, published) in enumerate(zip(blocks, BOTTLENECK_FILTERS), start=1):
        filters = _scaled(published, width_multiplier)
        wide = filters * BOTTLENECK_EXPANSION
        for repeat in range(repeats):
            inputs, stride = layers[-1].out_filters, 2 if stage > 1 and repeat == 0 else 1
            convolutions = [
                Convolution("reduce", 1, 1, inputs, filters, filters),
                Convolution("spatial", 3, stride, filters, filters, filters),
                Convolution("expand", 1, 1, filters, wide, wide),
            ]
            name = f"stage{stage}_block{repeat + 1}"
            if repeat == 0:
                convolutions.append(Convolution("shortcut", 1, stride, inputs, wide, wide, shortcut=True))
            else:
                residual[name] = "expand"
            layers.append(Layer(name, stage, "Bottleneck", wide, tuple(convolutions)))
    return Baseline(tuple(layers), _aliases(layers) | {base.HEAD: layers[-1].name}, residual)


def _densenet(blocks: tuple[int, ...], stem: Layer, growth_rate: int) -> Baseline:
    layers = [stem]
    wide = growth_rate * GROWTH_EXPANSION
    for number, repeats in enumerate(blocks, start=1):
        stage = 2 * number - 1  # a transition is a stage of its own
        for repeat in range(repeats):
            inputs = layers[-1].out_filters
            convolutions = (
                Convolution("reduce", 1, 1, inputs, wide, inputs),
                Convolution("spatial", 3, 1, wide, growth_rate, wide),
            )
            name = f"stage{number}_block{repeat + 1}"
            layers.append(Layer(name, stage, "DenseLayer", inputs + growth_rate, convolutions))
        inputs = layers[-1].out_filters
        if number < len(blocks):
            outputs = inputs // COMPRESSION
            convolution = Convolution("", 1, 1, inputs, outputs, inputs)
            layers.append(
                Layer(f"transition{number}", stage + 1, "Transition", outputs, (convolution,), pool="average")
            )
        else:
            layers.append(Layer(base.HEAD, stage + 1, "BatchNorm", inputs, own_norm_filters=inputs))
    return Baseline(tuple(layers), _aliases(layers), {})


def _aliases(layers: list[Layer]) -> dict[str, str]:
    return {layer.name.split("_")[0]: layer.name for layer in layers if "_block" in layer.name}
