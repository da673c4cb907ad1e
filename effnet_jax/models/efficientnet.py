"""EfficientNet (Tan & Le 2019) at any compound scaling, as a Flax Linen module."""

from collections.abc import Sequence

import flax.linen as nn

from effnet_jax.architecture import scaling
from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.models.chain import ChainClassifier, Link, classifier
from effnet_jax.models.layers import ConvBNSwish, MBConv, Numerics


class EfficientNet(ChainClassifier):
    """EfficientNet classifier; its methods are those of `ChainClassifier`.

    Attributes:
      width_multiplier, depth_multiplier: compound scaling of B0 (paper section 3.3).
      stem_stride, stage_strides: strides; small images want fewer 2s than the published ones.
      dropout_rate: dropout before the classifier.
      stochastic_depth_rate: 1 - survival probability after the last block; grows linearly from 0 at the first.
      numerics: dtype, padding and BatchNorm constants.
      remat: recompute each block in the backward pass, which trades time for memory.
      allow_1x1_map: accept inputs so small that the head map has one pixel.
      in_channels: channels of an image.
    """

    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    stem_stride: int = scaling.B0_STEM_STRIDE
    stage_strides: Sequence[int] = scaling.B0_STAGE_STRIDES
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    numerics: Numerics = Numerics()
    remat: bool = False
    allow_1x1_map: bool = False
    in_channels: int = IN_CHANNELS

    @property
    def architecture(self) -> scaling.Architecture:
        """The scaled block table this module is built from."""
        return scaling.architecture(
            self.width_multiplier, self.depth_multiplier, self.stem_stride, self.stage_strides, self.in_channels
        )

    def setup(self) -> None:
        arch = self.architecture
        self.stem = ConvBNSwish(arch.stem_filters, 3, arch.stem_stride, self.numerics)
        block_class = nn.remat(MBConv, static_argnums=(2,)) if self.remat else MBConv
        for index, block in enumerate(arch.blocks):
            survival = 1.0 - self.stochastic_depth_rate * index / len(arch.blocks)
            setattr(self, block.name, block_class(block, survival, self.numerics))
        self.head_conv = ConvBNSwish(arch.head_filters, 1, 1, self.numerics)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.classifier = classifier(self.num_classes, self.numerics)

    def _chain(self) -> list[Link]:
        blocks = [(block.name, getattr(self, block.name)) for block in self.architecture.blocks]
        return [("stem", self.stem), *blocks, ("head", self.head_conv)]
