"""DenseNet-BC (Huang et al. 2017) as torchvision has it."""

import flax.linen as nn
import jax

from effnet_jax.architecture import baselines
from effnet_jax.models.chain import ChainClassifier, Link, classifier
from effnet_jax.models.layers import BatchNorm, Conv, Numerics, torch_dense_init
from effnet_jax.models.stem import Stem


def _preactivated(convolution: baselines.Convolution, numerics: Numerics, x: jax.Array, train: bool) -> jax.Array:
    """BatchNorm, ReLU, convolution, inside a compact method."""
    x = nn.relu(BatchNorm(numerics, name=convolution.norm_name)(x, train))
    filters, k, stride = convolution.out_filters, convolution.kernel_size, convolution.stride
    return Conv(filters, k, stride, numerics, name=convolution.conv_name)(x)


class DenseLayer(nn.Module):
    """Appends the channels that BatchNorm, ReLU, 1x1 and BatchNorm, ReLU, 3x3 make of all those before."""

    layer: baselines.Layer
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = x
        for convolution in self.layer.convolutions:
            y = _preactivated(convolution, self.numerics, y, train)
        return self.numerics.operations.append_channels(x, y)


class Transition(nn.Module):
    """BatchNorm, ReLU, 1x1 to fewer channels, means of 2x2 pixels."""

    layer: baselines.Layer
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        (convolution,) = self.layer.convolutions
        return nn.avg_pool(_preactivated(convolution, self.numerics, x, train), (2, 2), (2, 2))


class LastNorm(nn.Module):
    """BatchNorm and ReLU behind the last dense block."""

    layer: baselines.Layer
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.relu(BatchNorm(self.numerics, name="bn")(x, train))


class DenseNet(ChainClassifier):
    """DenseNet classifier; its methods are those of `ChainClassifier`.

    Convolutions start as EfficientNet's do; torchvision scales kernels by their inputs instead of their outputs,
    which the BatchNorm behind each of them takes away. The classifier starts as PyTorch's does.

    Attributes:
      architecture: of `baselines.baseline`.
      dropout_rate: dropout before the classifier.
      numerics: dtype, padding and BatchNorm constants.
      remat: recompute each layer in the backward pass: its memory then grows linearly with the depth.
      allow_1x1_map: accept inputs so small that the head map has one pixel.
    """

    architecture: baselines.Baseline
    dropout_rate: float = 0.0
    numerics: Numerics = Numerics(padding="SYMMETRIC", bn_epsilon=1e-5)
    remat: bool = False
    allow_1x1_map: bool = False

    def setup(self) -> None:
        kinds = {"Conv": Stem, "DenseLayer": DenseLayer, "Transition": Transition, "BatchNorm": LastNorm}
        if self.remat:
            kinds["DenseLayer"] = nn.remat(DenseLayer, static_argnums=(2,))
        for layer in self.architecture.layers:
            setattr(self, layer.module_name, kinds[layer.operator](layer, self.numerics))
        self.dropout = nn.Dropout(self.dropout_rate)
        self.classifier = classifier(self.num_classes, self.numerics, torch_dense_init)

    def _chain(self) -> list[Link]:
        return [(layer.name, getattr(self, layer.module_name)) for layer in self.architecture.layers]
