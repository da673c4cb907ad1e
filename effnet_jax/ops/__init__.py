"""Array operations with their own formulations and gradients: depthwise and 1x1 convolution, BatchNorm."""

from effnet_jax.ops import batch_norm, depthwise, pointwise

__all__ = ["batch_norm", "depthwise", "pointwise"]
