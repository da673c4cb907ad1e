"""EfficientNet's block table, compound scaling and exact counts, in pure Python (no JAX).

The one home of the architecture: the Flax module, the summaries and the searches all read the
`Architecture` made here. Sources: Tan & Le 2019 (arXiv 1905.11946), Table 1 and section 3.3, and the
official rounding rules of the authors' code.
"""

import dataclasses
import math
from collections.abc import Sequence

from effnet_jax.architecture import description as base
from effnet_jax.architecture.counting import Counter, Counts
from effnet_jax.errors import UserError, did_you_mean

SE_RATIO = 0.25  # of the block's *input* filters, not of the expanded ones
FILTER_DIVISOR = 8


@dataclasses.dataclass(frozen=True)
class Stage:
    """One row of the paper's Table 1 before scaling."""

    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int
    in_filters: int
    out_filters: int


B0_STAGES = (
    Stage(1, 3, 1, 1, 32, 16),
    Stage(2, 3, 2, 6, 16, 24),
    Stage(2, 5, 2, 6, 24, 40),
    Stage(3, 3, 2, 6, 40, 80),
    Stage(3, 5, 1, 6, 80, 112),
    Stage(4, 5, 2, 6, 112, 192),
    Stage(1, 3, 1, 6, 192, 320),
)
B0_STEM_FILTERS = 32
B0_HEAD_FILTERS = 1280
B0_STEM_STRIDE = 2
B0_STAGE_STRIDES = tuple(stage.stride for stage in B0_STAGES)


@dataclasses.dataclass(frozen=True)
class Variant:
    """Published scaling of one family member; `resolution` in pixels."""

    width_multiplier: float
    depth_multiplier: float
    resolution: int
    dropout_rate: float


FAMILY = {
    "efficientnet_b0": Variant(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Variant(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Variant(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Variant(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Variant(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Variant(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Variant(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Variant(2.0, 3.1, 600, 0.5),
    "efficientnet_b8": Variant(2.2, 3.6, 672, 0.5),
    "efficientnet_l2": Variant(4.3, 5.3, 800, 0.5),
}


def variant(name: str) -> Variant:
    """Returns the published scaling of `name`.

    Raises:
      UserError: no family member has that name.
    """
    if name not in FAMILY:
        raise UserError(f"unknown model {name!r}{did_you_mean(name, FAMILY)}; the models are {', '.join(FAMILY)}")
    return FAMILY[name]


def round_filters(filters: int, width_multiplier: float) -> int:
    """Scales a filter count and rounds it to a multiple of 8, never down by more than 10 %."""
    scaled = filters * width_multiplier
    rounded = max(FILTER_DIVISOR, int(scaled + FILTER_DIVISOR / 2) // FILTER_DIVISOR * FILTER_DIVISOR)
    if rounded < 0.9 * scaled:
        rounded += FILTER_DIVISOR
    return rounded


def round_repeats(repeats: int, depth_multiplier: float) -> int:
    """Scales the number of blocks of a stage, rounding up."""
    return math.ceil(depth_multiplier * repeats)


@dataclasses.dataclass(frozen=True)
class Block:
    """One MBConv block after scaling."""

    name: str  # "stage3_block1", counted from 1 as in the paper's text
    stage: int  # 1..7
    kernel_size: int
    stride: int
    expand_ratio: int
    in_filters: int
    out_filters: int

    @property
    def expanded_filters(self) -> int:
        return self.in_filters * self.expand_ratio

    @property
    def se_filters(self) -> int:
        return max(1, int(self.in_filters * SE_RATIO))

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.in_filters == self.out_filters


@dataclasses.dataclass(frozen=True)
class Architecture(base.Architecture):
    """A scaled network: stem 3x3, MBConv blocks, head 1x1, pooling and classifier."""

    stem_filters: int
    stem_stride: int
    blocks: tuple[Block, ...]
    head_filters: int
    in_channels: int

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stem", *(block.name for block in self.blocks), base.HEAD)

    @property
    def aliases(self) -> dict[str, str]:
        return {f"stage{block.stage}": block.name for block in self.blocks}

    @property
    def residual_ends(self) -> dict[str, str]:
        return {block.name: "project" for block in self.blocks if block.residual}

    def count(self, resolution: int, num_classes: int) -> Counts:
        counter = Counter(resolution)
        counter.conv_bn(3, self.in_channels, self.stem_filters, self.stem_stride)
        counter.end_layer("stem", 0, "Conv", self.stem_filters)
        for block in self.blocks:
            if block.expand_ratio > 1:
                counter.conv_bn(1, block.in_filters, block.expanded_filters)
            counter.conv_bn(block.kernel_size, 1, block.expanded_filters, block.stride)  # depthwise
            counter.dense(block.expanded_filters, block.se_filters)
            counter.dense(block.se_filters, block.expanded_filters)
            counter.conv_bn(1, block.expanded_filters, block.out_filters)
            counter.end_layer(block.name, block.stage, f"MBConv{block.expand_ratio}", block.out_filters)
        counter.conv_bn(1, self.blocks[-1].out_filters, self.head_filters)
        counter.end_layer(base.HEAD, len(B0_STAGES) + 1, "Conv", self.head_filters)
        return counter.finish(self.head_filters, num_classes)


def architecture(
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    stem_stride: int = B0_STEM_STRIDE,
    stage_strides: Sequence[int] = B0_STAGE_STRIDES,
    in_channels: int = base.IN_CHANNELS,
) -> Architecture:
    """Scales the B0 table (paper section 3.3 with the official rounding).

    Args:
      width_multiplier: factor on every filter count, stem and head included.
      depth_multiplier: factor on the number of blocks of every stage.
      stem_stride: 1 or 2; small images want 1.
      stage_strides: stride of the first block of each of the seven stages.
      in_channels: channels of an image.

    Raises:
      UserError: a multiplier or a number of channels that is not positive, or strides other than 1 and 2.
    """
    base.check_in_channels(in_channels)
    if width_multiplier <= 0 or depth_multiplier <= 0:
        raise UserError(f"width and depth multipliers must be positive, got {width_multiplier} and {depth_multiplier}")
    strides = (stem_stride, *stage_strides)
    if len(stage_strides) != len(B0_STAGES) or any(s not in (1, 2) for s in strides):
        raise UserError(
            f"stem_stride and the {len(B0_STAGES)} stage_strides must each be 1 or 2, "
            f"got {stem_stride} and {tuple(stage_strides)}"
        )
    blocks = []
    for number, (stage, stage_stride) in enumerate(zip(B0_STAGES, stage_strides), start=1):
        in_filters = round_filters(stage.in_filters, width_multiplier)
        out_filters = round_filters(stage.out_filters, width_multiplier)
        for repeat in range(round_repeats(stage.repeats, depth_multiplier)):
            first = repeat == 0
            blocks.append(
                Block(
                    name=f"stage{number}_block{repeat + 1}",
                    stage=number,
                    kernel_size=stage.kernel_size,
                    stride=stage_stride if first else 1,
                    expand_ratio=stage.expand_ratio,
                    in_filters=in_filters if first else out_filters,
                    out_filters=out_filters,
                )
            )
    return Architecture(
        stem_filters=round_filters(B0_STEM_FILTERS, width_multiplier),
        stem_stride=stem_stride,
        blocks=tuple(blocks),
        head_filters=round_filters(B0_HEAD_FILTERS, width_multiplier),
        in_channels=in_channels,
    )
