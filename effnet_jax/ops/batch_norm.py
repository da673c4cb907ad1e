"""Batch normalisation (Ioffe & Szegedy, 2015), alone or with swish, with gradients that keep little.

What is kept for the backward pass is the input and vectors of length C; everything else is computed again
from them, which costs less than writing and reading it.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops.swish import sigmoid, swish


def batch_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises with the statistics of the batch itself (training mode).

    Statistics run over every axis but the last, in float32 (float64 for float64 inputs). With a sharded batch
    under `jax.jit` they are those of the whole, global batch.

    The gradient flows through `y` only: `mean` and `var` are there to feed running averages, and their
    cotangents are dropped as if they had passed through `lax.stop_gradient`.

    Args:
        x: `[..., C]`.
        scale: `[C]`.
        bias: `[C]`.
        eps: added to the variance.

    Returns:
        `y` like `x`, the mean `[C]` and the biased variance `[C]`.
    """
    return _batch_norm(eps, False, x, scale, bias)


def batch_norm_swish(
    x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`batch_norm` followed by swish as one operation: `y` is `z * sigmoid(z)` of the normalised `z`.

    Neither `z` nor its sigmoid is kept for the backward pass. Arguments and results are as in `batch_norm`.
    """
    return _batch_norm(eps, True, x, scale, bias)


def batch_norm_swish_of_product(
    x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`batch_norm_swish` of what a matrix product made and nothing but a sum over pixels reads.

    Accelerators take it as the matrix `[N * H * W, C]` that it is: their compiler would otherwise copy it into
    another layout. Between two convolutions that costs more than it saves.
    """
    flattened = functools.partial(_flattened, eps)
    return lax.platform_dependent(x, scale, bias, cpu=functools.partial(_batch_norm, eps, True), default=flattened)


def _flattened(eps, x, scale, bias):
    y, mean, var = _batch_norm(eps, True, x.reshape(-1, x.shape[-1]), scale, bias)
    return y.reshape(x.shape), mean, var


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> jax.Array:
    """Normalises with given statistics (inference mode): one multiply-add per element, in float32.

    Args:
        x: `[..., C]`.
        mean: `[C]`.
        var: `[C]`.
        scale: `[C]`.
        bias: `[C]`.
        eps: added to the variance.

    Returns:
        An array like `x`.
    """
    return _affine(x, mean, lax.rsqrt(var + eps), scale, bias).astype(x.dtype)


# Layers of one shape share a trace and a function of the lowered program, which XLA inlines.
_traced_once = functools.partial(jax.jit, static_argnums=(0, 1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _batch_norm(eps, swishes, x, scale, bias):
    return _forward(eps, swishes, x, scale, bias)[0]


@_traced_once
def _forward(eps, swishes, x, scale, bias):
    mean, var = _statistics(x)
    rstd = lax.rsqrt(var + eps)
    z = _affine(x, mean, rstd, scale, bias)
    y = swish(z) if swishes else z
    return (y.astype(x.dtype), mean, var), (x, mean, rstd, scale, bias)


@_traced_once
def _backward(eps, swishes, residuals, cotangents):
    x, mean, rstd, scale, bias = residuals
    # Otherwise XLA finds the forward pass's intermediate values to be the same and keeps them in memory.
    mean, rstd = lax.optimization_barrier((mean, rstd))
    count = x.size // x.shape[-1]
    g = cotangents[0].astype(mean.dtype)
    if swishes:
        z = _affine(x, mean, rstd, scale, bias)
        gate = sigmoid(z)
        g = g * (gate * (1 + z * (1 - gate)))
    x_in = x.astype(mean.dtype)
    dbias, product = _two_sums(g, g * x_in)
    dscale = (product - mean * dbias) * rstd
    factor = rstd * scale
    # dx = factor * (g - mean(g) - normalised * mean(g * normalised)), gathered by what varies in it.
    k = factor * rstd * dscale / count
    dx = factor * g - k * x_in + (k * mean - factor * dbias / count)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


_batch_norm.defvjp(_forward, _backward)


def _statistics(x):
    """Mean and biased variance over all axes but the last, never negative."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if x.dtype != jnp.float32:
        return _statistics_in_two_passes(x)
    return lax.platform_dependent(x, cpu=_statistics_in_two_passes, default=_statistics_in_one_pass)


def _statistics_in_two_passes(x):
    """Without cancellation."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, lax.square(x - mean).mean(axes)


def _statistics_in_one_pass(x):
    """The map is read once, and devices that share a batch exchange both sums at once, not one after the other.

    The difference of two large numbers loses what float32 loses of the mean's square: 1e-5 of the variance where the
    mean is ten standard deviations.
    """
    total, squares = _two_sums(x, lax.square(x))
    count = x.size // x.shape[-1]
    mean = total / count
    return mean, jnp.maximum(squares / count - lax.square(mean), 0)


@jax.custom_jvp
def _two_sums(a, b):
    """The sums of two arrays of one shape over all axes but the last."""
    return lax.platform_dependent(a, b, cpu=_sum_separately, default=_sum_together)


@_two_sums.defjvp
def _two_sums_jvp(primals, tangents):
    # A reduction of several arrays has no transpose of its own.
    return _two_sums(*primals), _sum_separately(*tangents)


def _sum_separately(a, b):
    axes = tuple(range(a.ndim - 1))
    return a.sum(axes), b.sum(axes)


def _sum_together(a, b):
    """As one reduction: otherwise XLA may make a kernel of each sum, and both read the map."""
    zero = jnp.zeros((), a.dtype)
    add = lambda x, y: (x[0] + y[0], x[1] + y[1])  # noqa: E731
    return lax.reduce((a, b), (zero, zero), add, tuple(range(a.ndim - 1)))


def _affine(x, mean, rstd, scale, bias):
    """`(x - mean) * rstd * scale + bias` as one multiply-add, in the dtype of the statistics."""
    factor = rstd * scale
    return x.astype(factor.dtype) * factor + (bias - mean * factor)
