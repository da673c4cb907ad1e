"""A 1x1 convolution, batch normalisation and swish as one operation, for training.

With `u` the inputs less their mean, `[n, K]`, and `W` the kernel, `[K, C]`, the normalisation needs nothing of the
many channels of `u W` that the few of `u` do not tell:

* The variance of `u W` is the diagonal of `W' S W`, with `S` the covariance of `u`.
* Let `g` be the gradient at the normalised, scaled values. Its product with `u W`, which the gradient of the scale
  is made of, is the diagonal of `W' (u' g)`.
* The gradient at `u W` is `f g - k u W + const`, with vectors `f` and `k`. The gradients of `u` and `W` are products
  with it, and a product can be taken term by term: `g (f W)' - u (W k W')`, `f (u' g) - k n S W`.

So `u W` is not read for its statistics or for the gradient of the scale, and the gradient at `u W` is never written.
With six times as many channels coming out as going in, as in an MBConv block, those are the largest arrays of a step.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops.batch_norm import batch_norm_swish
from effnet_jax.ops.pointwise import pointwise_conv, transposed_product
from effnet_jax.ops.swish import sigmoid, swish

# Pixels of the batch for each input channel from which this pays: the products of kernels and covariances with each
# other cost the same for any number of pixels. Measured on a CPU over the shapes of B0: 51 gain, 39 gain nothing.
_PIXELS_PER_CHANNEL = 48


def pointwise_batch_norm_swish(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`batch_norm_swish` of `pointwise_conv(x, kernel)`.

    Args:
        x: `[N, H, W, K]`; N may be symbolic.
        kernel: `[1, 1, K, C]`.
        scale: `[C]`.
        bias: `[C]`.
        eps: added to the variance.

    Returns:
        `[N, H, W, C]` in the dtype of `x`, the mean `[C]` and the biased variance `[C]` of the convolution. The
        gradient flows through the first only.
    """
    pixels, channels = x.shape[0] * x.shape[1] * x.shape[2], x.shape[3]
    separately = functools.partial(_separately, eps)
    if not isinstance(pixels, int) or pixels < _PIXELS_PER_CHANNEL * channels or x.dtype.itemsize < 4:
        return separately(x, kernel, scale, bias)
    return lax.platform_dependent(x, kernel, scale, bias, cpu=functools.partial(_at_once, eps), default=separately)


def _separately(eps, x, kernel, scale, bias):
    return batch_norm_swish(pointwise_conv(x, kernel), scale, bias, eps)


def _at_once(eps, x, kernel, scale, bias):
    y, mean, var = _normalized_product(eps, x.reshape(-1, x.shape[3]), kernel[0, 0], scale, bias)
    return y.reshape(*x.shape[:3], -1), mean, var


# Blocks of one shape share a trace and a function of the lowered program, which XLA inlines.
_traced_once = functools.partial(jax.jit, static_argnums=0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalized_product(eps, x, w, scale, bias):
    return _forward(eps, x, w, scale, bias)[0]


@_traced_once
def _forward(eps, x, w, scale, bias):
    mean = x.mean(0)
    # Three products read the centred inputs; without the barrier each would subtract the mean again.
    u = lax.optimization_barrier(x - mean)
    covariance = transposed_product(u, u) / x.shape[0]
    sw = covariance @ w
    var = jnp.maximum((w * sw).sum(0), 0)  # rounding may take a channel that hardly varies below zero
    rstd = lax.rsqrt(var + eps)
    uw = u @ w
    z = uw * (rstd * scale) + bias
    return (swish(z), mean @ w, var), (u, uw, w, sw, rstd, scale, bias)


@_traced_once
def _backward(eps, residuals, cotangents):
    u, uw, w, sw, rstd, scale, bias = residuals
    n = u.shape[0]
    # Otherwise XLA finds the forward pass's intermediate values to be the same and keeps them in memory.
    rstd = lax.optimization_barrier(rstd)
    f = rstd * scale
    z = uw * f + bias
    gate = sigmoid(z)
    g = cotangents[0] * (gate * (1 + z * (1 - gate)))
    ug = transposed_product(u, g)
    dbias = g.sum(0)
    dscale = rstd * (w * ug).sum(0)
    k = f * rstd * dscale
    dw = f * ug - k * sw
    dx = g @ (f * w).T - u @ ((k / n * w) @ w.T) - (f * dbias / n) @ w.T
    return dx, dw, dscale, dbias


_normalized_product.defvjp(_forward, _backward)
