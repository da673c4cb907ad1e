"""Array operations with their own formulations and gradients: convolutions and BatchNorm."""

from effnet_jax.ops import batch_norm, dense_conv, depthwise, pointwise

__all__ = ["batch_norm", "dense_conv", "depthwise", "pointwise"]
