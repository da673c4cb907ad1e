"""1x1 convolution as a matrix product, alone or with channel gates on its input."""

import jax
import jax.numpy as jnp
from jax import lax

# Pixels for each output channel from which a kernel for each image beats a gated copy of the images. Measured on a
# CPU over the shapes of B0: 16 pixels gain, 10 lose.
_PIXELS_PER_FILTER = 16


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Maps the channels of every pixel by one matrix.

    Forward mode (`jax.jvp`) is not defined.

    Args:
        x: `[N, H, W, Cin]`; N may be symbolic.
        kernel: `[1, 1, Cin, Cout]`, cast to the dtype of `x`. XLA sums 16-bit inputs in float32.

    Returns:
        `[N, H, W, Cout]` in the dtype of `x`.
    """
    n, height, width, channels = x.shape
    if kernel.shape[:3] != (1, 1, channels):
        raise ValueError(f"want a kernel [1, 1, {channels}, Cout] for x {x.shape}, got {kernel.shape}")
    y = _product(x.reshape(n * height * width, channels), kernel[0, 0].astype(x.dtype))
    return y.reshape(n, height, width, kernel.shape[3])


def gated_pointwise_conv(x: jax.Array, gates: jax.Array, kernel: jax.Array) -> jax.Array:
    """`pointwise_conv` of `x` with its channels scaled image by image, as squeeze-and-excitation does.

    Where there are many pixels, a CPU saves time by scaling the kernel for each image and not every pixel: the
    gated copy of `x` is never written, in either direction, nor read again for the gradient of the gates.

    Args:
        x: `[N, H, W, Cin]`; N may be symbolic.
        gates: `[N, Cin]`.
        kernel: `[1, 1, Cin, Cout]`.

    Returns:
        `[N, H, W, Cout]` in the dtype of `x`.
    """
    if x.shape[1] * x.shape[2] < _PIXELS_PER_FILTER * kernel.shape[3]:
        return _gated_product(x, gates, kernel)
    return lax.platform_dependent(x, gates, kernel, cpu=_product_by_image, default=_gated_product)


def _gated_product(x: jax.Array, gates: jax.Array, kernel: jax.Array) -> jax.Array:
    return pointwise_conv(x * gates.astype(x.dtype)[:, None, None, :], kernel)


def _product_by_image(x: jax.Array, gates: jax.Array, kernel: jax.Array) -> jax.Array:
    n, height, width, channels = x.shape
    kernels = gates[:, :, None] * kernel[0, 0]
    y = _product(x.reshape(n, height * width, channels), kernels.astype(x.dtype))
    return y.reshape(n, height, width, kernel.shape[3])


@jax.custom_vjp
def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    """`x w`, of one pair of matrices or of many."""
    return x @ w


def transposed_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a' b`, `[..., P, M], [..., P, N] -> [..., M, N]`: a sum over pixels."""
    if a.shape[-1] <= b.shape[-1]:
        return _sum_over_pixels(a, b)
    return lax.platform_dependent(a, b, cpu=_fewer_channels_first, default=_sum_over_pixels)


def _sum_over_pixels(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum("...pm,...pn->...mn", a, b)


def _fewer_channels_first(a: jax.Array, b: jax.Array) -> jax.Array:
    """`(b' a)'`, which XLA:CPU computes in a half to nine tenths of the time; without the barrier it undoes this."""
    return jnp.swapaxes(lax.optimization_barrier(_sum_over_pixels(b, a)), -1, -2)


_product.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda res, g: (g @ jnp.swapaxes(res[1], -1, -2), transposed_product(res[0], g)),
)
