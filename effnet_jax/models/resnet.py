"""ResNet (He et al. 2016) as torchvision has it: bottlenecks that stride in the 3x3 convolution."""

import flax.linen as nn
import jax

from effnet_jax.architecture import baselines
from effnet_jax.models.chain import ChainClassifier, Link, classifier
from effnet_jax.models.layers import BatchNorm, Conv, Numerics, StochasticDepth, torch_dense_init
from effnet_jax.models.stem import Stem


class Bottleneck(nn.Module):
    """reduce 1x1 -> 3x3 -> expand 1x1, each with BatchNorm; ReLU follows each but the last, and the sum.

    The shortcut is the input itself or, where its shape differs, a 1x1 convolution of it with BatchNorm.
    """

    layer: baselines.Layer
    survival_probability: float
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        convolutions = {convolution.name: convolution for convolution in self.layer.convolutions}

        def conv_bn(name: str, x: jax.Array) -> jax.Array:
            conv = convolutions[name]
            x = Conv(conv.out_filters, conv.kernel_size, conv.stride, self.numerics, name=conv.conv_name)(x)
            return BatchNorm(self.numerics, name=conv.norm_name)(x, train)

        y = nn.relu(conv_bn("reduce", x))
        y = nn.relu(conv_bn("spatial", y))
        y = StochasticDepth(self.survival_probability)(conv_bn("expand", y), train)
        shortcut = conv_bn("shortcut", x) if "shortcut" in convolutions else x
        return self.numerics.operations.add_relu(y, shortcut)


class ResNet(ChainClassifier):
    """ResNet classifier; its methods are those of `ChainClassifier`.

    Weights start as torchvision's do: convolutions as EfficientNet's, which is also what the authors used, and the
    classifier as PyTorch's. The last BatchNorm of each block does not start at zero (Goyal et al. 2017, section 5.1;
    tried: results/recipes).

    Attributes:
      architecture: of `baselines.baseline`.
      dropout_rate: dropout before the classifier.
      stochastic_depth_rate: 1 - survival probability after the last block (Huang et al. 2016); grows linearly
        from 0 at the first. Blocks that change the shape are never dropped.
      numerics: dtype, padding and BatchNorm constants.
      remat: recompute each block in the backward pass, which trades time for memory.
      allow_1x1_map: accept inputs so small that the head map has one pixel.
    """

    architecture: baselines.Baseline
    dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    numerics: Numerics = Numerics(padding="SYMMETRIC", bn_epsilon=1e-5)
    remat: bool = False
    allow_1x1_map: bool = False

    def setup(self) -> None:
        first, *blocks = self.architecture.layers
        self.stem = Stem(first, self.numerics)
        block_class = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat else Bottleneck
        for index, block in enumerate(blocks):
            rate = self.stochastic_depth_rate * index / len(blocks)
            survival = 1.0 - rate if block.name in self.architecture.residual_ends else 1.0
            setattr(self, block.name, block_class(block, survival, self.numerics))
        self.dropout = nn.Dropout(self.dropout_rate)
        self.classifier = classifier(self.num_classes, self.numerics, torch_dense_init)

    def _chain(self) -> list[Link]:
        return [(name, getattr(self, name)) for name in self.layer_names]
