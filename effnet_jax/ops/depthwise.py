"""Depthwise convolution: one function, one formulation per backend, gradients that stay fast.

XLA's grouped convolution is the slowest operation of an EfficientNet on a CPU, its gradients even more so, and cuDNN's
was on a GPU (results/gpu.md). A depthwise convolution is a small sum, though: for every tap of the kernel one shifted
copy of the image times one number per channel. Written like that, XLA:CPU turns forward and input gradient into one
vectorised loop each (`shifted_sums`), and XLA:GPU each of the three functions into one kernel or two (`fused_sums`).
TPUs have XLA's own.

Three functions that are linear in each argument make the whole: `F(x, w)` the convolution, `D(g, w)` its
input gradient and `W(x, g)` its filter gradient. The gradients of each are again two of the three, so the
operation can be differentiated any number of times in reverse mode. Forward mode (`jax.jvp`) is not defined.

The backend is chosen when the program is lowered (`jax.lax.platform_dependent`), not when it is traced, so
that `jax.export` on a CPU for a GPU gives the GPU's formulation.
"""

import functools

import jax
from jax import lax

from effnet_jax.ops import fused_sums, shifted_sums
from effnet_jax.ops.geometry import Geometry, Padding, geometry_of
from effnet_jax.process import target


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """Convolves every channel with its own k x k filter.

    Args:
        x: `[N, H, W, C]`; N may be symbolic.
        kernel: `[k, k, 1, C]`, cast to the dtype of `x`. 16-bit inputs are summed in float32.
        stride: the same for both axes.
        padding: "SAME" (TensorFlow: the odd pixel goes below and to the right), "SYMMETRIC" (PyTorch:
            `(k - 1) // 2` on every side) or explicit `((top, bottom), (left, right))`.

    Returns:
        `[N, H', W', C]` in the dtype of `x`.

    Raises:
        ValueError: for shapes that do not fit, an unknown padding, or an empty output.
    """
    if x.ndim != 4 or kernel.ndim != 4 or kernel.shape[2] != 1 or kernel.shape[3] != x.shape[3]:
        raise ValueError(f"want x [N, H, W, C] and kernel [k, k, 1, C], got {x.shape} and {kernel.shape}")
    geometry, window = geometry_of(x.shape, kernel.shape, stride, padding).trimmed()
    return _forward(geometry, x, kernel.astype(x.dtype)[window])


# --- The three bilinear functions; each one's gradients are the other two. ---------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
    """F: `[N, H, W, C], [k, k, 1, C] -> [N, H', W', C]`."""
    return lax.platform_dependent(
        x,
        w,
        cpu=functools.partial(shifted_sums.forward, geometry),
        cuda=functools.partial(fused_sums.forward, geometry),
        default=functools.partial(_lax_forward, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: Geometry, g: jax.Array, w: jax.Array) -> jax.Array:
    """D: `[N, H', W', C], [k, k, 1, C] -> [N, H, W, C]`."""
    return lax.platform_dependent(
        g,
        w,
        cpu=functools.partial(shifted_sums.input_gradient, geometry),
        cuda=functools.partial(fused_sums.input_gradient, geometry),
        default=functools.partial(_lax_input_gradient, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _filter_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """W: `[N, H, W, C], [N, H', W', C] -> [k, k, 1, C]`."""
    return lax.platform_dependent(
        x,
        g,
        cpu=functools.partial(shifted_sums.filter_gradient, geometry),
        cuda=functools.partial(fused_sums.filter_gradient, geometry),
        default=functools.partial(_lax_filter_gradient, geometry),
    )


def _forward_fwd(geometry, x, w):
    """Keeps the padded input, which on a CPU exists anyway.

    With the unpadded one kept as well, whatever makes `x` would be written twice: once as it is, once padded.
    """
    if not target.is_cpu():
        return _forward(geometry, x, w), (x, None, w)
    padded = shifted_sums.pad(geometry, x)
    return _forward(geometry.without_padding(), padded, w), (None, padded, w)


def _forward_bwd(geometry, residuals, g):
    x, padded, w = residuals
    if padded is None:
        return _input_gradient(geometry, g, w), _filter_gradient(geometry, x, g)
    # Both read one padded array: whatever makes `g` would otherwise be written twice, padded and not.
    geometry = geometry.with_margins()
    g = shifted_sums.add_margins(geometry, g)
    return _input_gradient(geometry, g, w), _filter_gradient(geometry.without_padding(), padded, g)


def _padded_forward(geometry, x, w):
    return shifted_sums.add_margins(geometry, _forward(geometry, x, w))


_forward.defvjp(_forward_fwd, _forward_bwd)
_input_gradient.defvjp(
    lambda geometry, g, w: (_input_gradient(geometry, g, w), (g, w)),
    lambda geometry, res, x: (_padded_forward(geometry, x, res[1]), _filter_gradient(geometry, x, res[0])),
)
_filter_gradient.defvjp(
    lambda geometry, x, g: (_filter_gradient(geometry, x, g), (x, g)),
    lambda geometry, res, w: (_input_gradient(geometry, res[1], w), _padded_forward(geometry, res[0], w)),
)


# --- XLA's own convolution. --------------------------------------------------------------------------------


def _lax_forward(geometry, x, w):
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(geometry.rows.stride, geometry.cols.stride),
        padding=[(axis.low, axis.high) for axis in (geometry.rows, geometry.cols)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3],
    )


def _lax_input_gradient(geometry, g, w):
    x = jax.ShapeDtypeStruct((g.shape[0], geometry.rows.size, geometry.cols.size, g.shape[3]), g.dtype)
    return jax.linear_transpose(lambda x: _lax_forward(geometry, x, w), x)(shifted_sums.without_margins(geometry, g))[0]


def _lax_filter_gradient(geometry, x, g):
    w = jax.ShapeDtypeStruct((geometry.rows.kernel, geometry.cols.kernel, 1, x.shape[3]), x.dtype)
    return jax.linear_transpose(lambda w: _lax_forward(geometry, x, w), w)(shifted_sums.without_margins(geometry, g))[0]


# Every formulation of every function, for `scripts/benchmark.py --sections depthwise`.
FORMULATIONS = {
    "forward": {
        "lax.conv": _lax_forward,
        "shifted sums": shifted_sums.forward,
        "fused sums": fused_sums.forward,
    },
    "input gradient": {
        "lax.conv": _lax_input_gradient,
        "shifted sums": shifted_sums.input_gradient,
        "fused sums": fused_sums.input_gradient,
    },
    "filter gradient": {
        "lax.conv": _lax_filter_gradient,
        "shifted sums": shifted_sums.filter_gradient,
        "fused sums": fused_sums.filter_gradient,
    },
}
