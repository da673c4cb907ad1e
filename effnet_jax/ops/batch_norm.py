"""Batch normalisation (Ioffe & Szegedy, 2015), alone or with swish, with gradients that keep little.

What is kept for the backward pass is the input and vectors of length C; everything else is computed again
from them, which costs less than writing and reading it.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops.swish import sigmoid, swish
from effnet_jax.process import target


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
    if target.is_cpu():
        return _batch_norm(eps, True, x, scale, bias)
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


def _forward(*arguments):
    return (_forward_on_cpu if target.is_cpu() else _forward_on_accelerators)(*arguments)


def _backward(*arguments):
    return (_backward_on_cpu if target.is_cpu() else _backward_on_accelerators)(*arguments)


_batch_norm.defvjp(_forward, _backward)


# --- For CPUs. ---------------------------------------------------------------------------------------------


@_traced_once
def _forward_on_cpu(eps, swishes, x, scale, bias):
    mean, var = _statistics_in_two_passes(_widened(x))
    rstd = lax.rsqrt(var + eps)
    z = _affine(x, mean, rstd, scale, bias)
    y = swish(z) if swishes else z
    return (y.astype(x.dtype), mean, var), (x, mean, rstd, scale, bias)


@_traced_once
def _backward_on_cpu(eps, swishes, residuals, cotangents):
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
    axes = tuple(range(g.ndim - 1))
    dbias, product = g.sum(axes), (g * x_in).sum(axes)
    dscale = (product - mean * dbias) * rstd
    factor = rstd * scale
    # dx = factor * (g - mean(g) - normalised * mean(g * normalised)), gathered by what varies in it.
    k = factor * rstd * dscale / count
    dx = factor * g - k * x_in + (k * mean - factor * dbias / count)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


def _statistics_in_two_passes(x):
    """Mean and biased variance over all axes but the last, without cancellation."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, lax.square(x - mean).mean(axes)


# --- For accelerators: as few kernels as can be, each of which reads and writes little. --------------------


@_traced_once
def _forward_on_accelerators(eps, swishes, x, scale, bias):
    """One kernel for the sums, one for all vectors that follow, which are kept, one for the map."""
    wide = _widened(x)
    mean, var = _moments(*_two_sums(wide, lax.square(wide), _FEW_PARTS, _ROWS_FOR_FEW), _pixels(x))
    rstd = lax.rsqrt(var + eps)
    factor = rstd * scale
    kept = lax.optimization_barrier((mean, rstd, factor, bias - mean * factor))
    _, _, factor, shift = kept
    z = wide * factor + shift
    y = swish(z) if swishes else z
    return (y.astype(x.dtype), mean, var), (x, *kept, scale)


@_traced_once
def _backward_on_accelerators(eps, swishes, residuals, cotangents):
    """One kernel for the sums, which are results, and one for `dx`.

    Both compute the gradient at the normalised values, and neither writes it: a barrier keeps XLA from finding out that
    it is the same.
    """

    def gradient(x, y_bar, factor, shift):
        x, g = x.astype(factor.dtype), y_bar.astype(factor.dtype)
        if swishes:
            z = x * factor + shift
            gate = sigmoid(z)
            g = g * (gate * (1 + z * (1 - gate)))
        return x, g

    x, mean, rstd, factor, shift, scale = residuals
    x_in, g = gradient(x, cotangents[0], factor, shift)
    dbias, dscale = _two_sums(g, g * ((x_in - mean) * rstd), _MANY_PARTS, _ROWS_FOR_MANY)
    results = dscale.astype(scale.dtype), dbias.astype(scale.dtype)
    dbias, dscale, x, factor, shift = lax.optimization_barrier((dbias, dscale, x, factor, shift))
    x_in, g = gradient(x, cotangents[0], factor, shift)
    each = 1 / _pixels(x)
    k = factor * rstd * dscale * each
    dx = factor * g - k * x_in + (k * mean - factor * dbias * each)
    return dx.astype(x.dtype), *results


def _moments(total, squares, count):
    """Mean and biased variance from two sums: a map is read once, and devices exchange both at once.

    The difference of two large numbers loses what float32 loses of the mean's square: 1e-5 of the variance where the
    mean is ten standard deviations.
    """
    mean = total / count
    return mean, jnp.maximum(squares / count - lax.square(mean), 0)


# XLA makes a sum over so few values part of the kernel that reads it, and over more a kernel of its own.
_FEW_PARTS, _ROWS_FOR_FEW = 16, 32768
# It computes what is summed where it is summed, and does not write it to memory first, if there are so many parts. More
# rows it cuts into parts itself.
_MANY_PARTS, _ROWS_FOR_MANY = 64, 4096


def _two_sums(a, b, parts, most_rows):
    """The sums of two arrays of one shape over all axes but the last, up to so many rows in parts first.

    Devices sum what they have and exchange both sums at once: XLA makes one all-reduce of two sums over the parts of
    devices, but gathers what one reduction of several arrays takes from several devices.
    """
    devices = target.device_count()
    if a.shape[0] % parts or _pixels(a) > most_rows or parts % devices:
        if devices == 1 or a.shape[0] % devices:
            return _sum_together(a, b, tuple(range(a.ndim - 1)))
        a, b = _sums_of_parts(a, b, devices)
        return a.sum(0), b.sum(0)
    a, b = _sums_of_parts(a, b, parts)
    if parts == _FEW_PARTS:
        return a.sum(0), b.sum(0)
    if devices == 1:
        return _sum_together(a, b, (0,))
    a, b = _sums_of_parts(a, b, devices)
    return a.sum(0), b.sum(0)


def _sums_of_parts(a, b, parts):
    """`[N, ..., C], [N, ..., C] -> [parts, C], [parts, C]`."""
    a, b = (x.reshape(parts, -1, *x.shape[1:]) for x in (a, b))
    return _sum_together(a, b, tuple(range(1, a.ndim - 1)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sum_together(a, b, axes):
    """Two sums as one reduction: XLA may otherwise make a kernel of each, and both read the map."""
    zero = jnp.zeros((), a.dtype)
    add = lambda x, y: (x[0] + y[0], x[1] + y[1])  # noqa: E731
    return lax.reduce((a, b), (zero, zero), add, axes)


@_sum_together.defjvp
def _sum_together_jvp(axes, primals, tangents):
    # A reduction of several arrays has no transpose of its own.
    return _sum_together(*primals, axes), tuple(tangent.sum(axes) for tangent in tangents)


# --- For both. ---------------------------------------------------------------------------------------------


def _widened(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pixels(x):
    return x.size // x.shape[-1]


def _affine(x, mean, rstd, scale, bias):
    """`(x - mean) * rstd * scale + bias` as one multiply-add, in the dtype of the statistics."""
    factor = rstd * scale
    return x.astype(factor.dtype) * factor + (bias - mean * factor)
