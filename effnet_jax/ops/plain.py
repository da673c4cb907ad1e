"""Every operation by XLA's own alone: no gradients of our own, no choice by platform.

They equal those of `fast` to rounding, and are slower. Forward-mode differentiation (`jax.jvp`, `jax.jacfwd`, a jvp of
a gradient), and converters that know the common operations alone, need them: `create_model(..., ops="plain")`.
Arguments and results are those of the functions of the same names in `fast`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops.geometry import Padding, geometry_of

swish = jax.nn.silu


def add_relu(x: jax.Array, shortcut: jax.Array) -> jax.Array:
    """See `blocks.add_relu`."""
    return jax.nn.relu(x + shortcut)


def append_channels(x: jax.Array, y: jax.Array) -> jax.Array:
    """See `blocks.append_channels`."""
    return jnp.concatenate([x, y], axis=-1)


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """See `depthwise.depthwise_conv`: XLA's grouped convolution."""
    return _convolution(x, kernel, stride, padding, groups=x.shape[3])


def dense_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """See `dense_conv.dense_conv`."""
    return _convolution(x, kernel, stride, padding, groups=1)


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """See `pointwise.pointwise_conv`."""
    return jnp.einsum("nhwc,cf->nhwf", x, kernel[0, 0].astype(x.dtype))


def gated_pointwise_conv(x: jax.Array, gates: jax.Array, kernel: jax.Array) -> jax.Array:
    """See `pointwise.gated_pointwise_conv`."""
    return pointwise_conv(x * gates.astype(x.dtype)[:, None, None, :], kernel)


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> jax.Array:
    """See `batch_norm.normalize`."""
    factor = lax.rsqrt(var + eps) * scale
    return (x.astype(factor.dtype) * factor + (bias - mean * factor)).astype(x.dtype)


def batch_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """See `batch_norm.batch_norm`."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean = wide.mean(axes)
    var = lax.square(wide - mean).mean(axes)
    return normalize(x, mean, var, scale, bias, eps), lax.stop_gradient(mean), lax.stop_gradient(var)


def batch_norm_swish(
    x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """See `batch_norm.batch_norm_swish`."""
    y, mean, var = batch_norm(x, scale, bias, eps)
    return swish(y), mean, var


batch_norm_swish_of_product = batch_norm_swish


def pointwise_batch_norm_swish(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """See `pointwise_batch_norm.pointwise_batch_norm_swish`."""
    return batch_norm_swish(pointwise_conv(x, kernel), scale, bias, eps)


def _convolution(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int) -> jax.Array:
    geometry = geometry_of(x.shape, kernel.shape, stride, padding)
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(stride, stride),
        padding=[(axis.low, axis.high) for axis in (geometry.rows, geometry.cols)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
