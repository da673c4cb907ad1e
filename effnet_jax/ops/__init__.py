"""Array operations with their own formulations and gradients: convolutions and BatchNorm."""

from effnet_jax.ops import batch_norm, depthwise, image_conv, pointwise

__all__ = ["batch_norm", "depthwise", "image_conv", "pointwise"]
