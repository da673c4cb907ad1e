"""1x1 convolution as a matrix product."""

import jax
from jax import lax


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Maps the channels of every pixel by one matrix.

    Args:
        x: `[N, H, W, Cin]`; N may be symbolic.
        kernel: `[1, 1, Cin, Cout]`, cast to the dtype of `x`. XLA sums 16-bit inputs in float32.

    Returns:
        `[N, H, W, Cout]` in the dtype of `x`.
    """
    n, height, width, channels = x.shape
    if kernel.shape[:3] != (1, 1, channels):
        raise ValueError(f"want a kernel [1, 1, {channels}, Cout] for x {x.shape}, got {kernel.shape}")
    y = lax.dot(x.reshape(n * height * width, channels), kernel[0, 0].astype(x.dtype))
    return y.reshape(n, height, width, kernel.shape[3])
