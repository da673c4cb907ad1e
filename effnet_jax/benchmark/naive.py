"""EfficientNet as one writes it first: Flax's own layers, depthwise as a grouped convolution.

The yardstick of the benchmark, and the reference that the fast model is tested against: parameters and
statistics have the same names and shapes, so both run from the same variables.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.architecture import scaling


class NaiveMBConv(nn.Module):
    """One block; dropout and stochastic depth are left out."""

    block: scaling.Block
    dtype: str
    eps: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        block, inputs = self.block, x
        if block.expand_ratio > 1:
            x = _conv(block.expanded_filters, 1, self.dtype, "expand_conv")(x)
            x = nn.silu(_norm(train, self.dtype, self.eps, "expand_bn")(x))
        channels, k, stride = x.shape[-1], block.kernel_size, block.stride
        x = _conv(channels, k, self.dtype, "depthwise_conv", stride, groups=channels)(x)
        x = nn.silu(_norm(train, self.dtype, self.eps, "depthwise_bn")(x))
        x = NaiveSqueezeExcite(block.se_filters, self.dtype, name="se")(x)
        x = _conv(block.out_filters, 1, self.dtype, "project_conv")(x)
        x = _norm(train, self.dtype, self.eps, "project_bn")(x)
        return x + inputs if block.residual else x


class NaiveSqueezeExcite(nn.Module):
    """[N, H, W, C] -> the same, each channel scaled by its gate (paper of Hu et al., section 3)."""

    reduced_filters: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        param_dtype = jnp.promote_types(self.dtype, jnp.float32)
        dense = lambda filters, name: nn.Dense(filters, dtype=self.dtype, param_dtype=param_dtype, name=name)  # noqa: E731
        gates = dense(self.reduced_filters, "reduce")(x.mean((1, 2)))
        gates = nn.sigmoid(dense(x.shape[-1], "expand")(nn.silu(gates)))
        return x * gates[:, None, None, :]


class NaiveConvBNSwish(nn.Module):
    """Stem and head: convolution, BatchNorm and swish as Flax has them."""

    filters: int
    kernel_size: int
    stride: int
    dtype: str
    eps: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = _conv(self.filters, self.kernel_size, self.dtype, "conv", self.stride)(x)
        return nn.silu(_norm(train, self.dtype, self.eps, "bn")(x))


class NaiveEfficientNet(nn.Module):
    """[N, H, W, 3] -> logits [N, classes]; SAME padding, without regularisation."""

    architecture: scaling.Architecture
    num_classes: int
    dtype: str = "float32"
    eps: float = 1e-3

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        arch, dtype = self.architecture, self.dtype
        param_dtype = jnp.promote_types(dtype, jnp.float32)
        x = NaiveConvBNSwish(arch.stem_filters, 3, arch.stem_stride, dtype, self.eps, name="stem")(
            images.astype(dtype), train
        )
        for block in arch.blocks:
            x = NaiveMBConv(block, dtype, self.eps, name=block.name)(x, train)
        x = NaiveConvBNSwish(arch.head_filters, 1, 1, dtype, self.eps, name="head_conv")(x, train)
        x = x.mean((1, 2)).astype(param_dtype)
        return nn.Dense(self.num_classes, dtype=param_dtype, param_dtype=param_dtype, name="classifier")(x)


def _conv(filters: int, kernel_size: int, dtype: str, name: str, stride: int = 1, groups: int = 1) -> nn.Conv:
    return nn.Conv(
        filters,
        (kernel_size, kernel_size),
        strides=stride,
        padding="SAME",
        use_bias=False,
        feature_group_count=groups,
        dtype=dtype,
        param_dtype=jnp.promote_types(dtype, jnp.float32),
        name=name,
    )


def _norm(train: bool, dtype: str, eps: float, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=0.99,
        epsilon=eps,
        dtype=dtype,
        param_dtype=jnp.promote_types(dtype, jnp.float32),
        name=name,
    )
