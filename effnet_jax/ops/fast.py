"""The operations of the models with formulations and gradients of their own; `plain` has them by XLA's alone."""

from effnet_jax.ops.batch_norm import batch_norm, batch_norm_swish, batch_norm_swish_of_product, normalize
from effnet_jax.ops.blocks import add_relu, append_channels
from effnet_jax.ops.dense_conv import dense_conv
from effnet_jax.ops.depthwise import depthwise_conv
from effnet_jax.ops.pointwise import gated_pointwise_conv, pointwise_conv
from effnet_jax.ops.pointwise_batch_norm import pointwise_batch_norm_swish
from effnet_jax.ops.swish import swish

__all__ = [
    "add_relu",
    "append_channels",
    "batch_norm",
    "batch_norm_swish",
    "batch_norm_swish_of_product",
    "dense_conv",
    "depthwise_conv",
    "gated_pointwise_conv",
    "normalize",
    "pointwise_batch_norm_swish",
    "pointwise_conv",
    "swish",
]
