"""Dense convolution, with matrix products where XLA's own is slow on a CPU."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops import shifted_sums
from effnet_jax.ops.geometry import Axis, Geometry, Padding, geometry_of
from effnet_jax.ops.pointwise import pointwise_conv, transposed_product

# At most so many channels make an input an image.
_IMAGE_CHANNELS = 4
# Input columns by which neighbouring groups of outputs are apart. Measured at strides 1 and 2: with 2 the products
# are too thin, with 8 most of the banded kernel is zero.
_GROUP_COLUMNS = 4


def dense_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """Dense convolution; XLA's own but for three cases on a CPU, which become matrix products there.

    Images, as a stem sees them: so few channels that one output pixel makes a poor product. XLA:CPU takes three to
    five times as long as for several neighbouring outputs of a row at once, from all the inputs that any of them reads,
    by a kernel with zeros where an output does not read an input.

    Results smaller than the kernel, as at the end of a network for small images: where a kernel does not fit its
    input, which in the input gradient is the result, XLA:CPU falls back to plain loops; at 2x2 pixels and 512
    channels one product of the whole map and the matrix that the convolution is was fifty times faster.

    Kernels of one pixel with a stride: a product of the pixels that they read.

    All others are XLA's own, but for their gradients on a CPU; see `_turned_convolution` and `_product_of_shifted`.
    Forward mode (`jax.jvp`) is not defined for them.

    Args:
        x: `[N, H, W, Cin]`; N may be symbolic.
        kernel: `[k, k, Cin, Cout]`.
        stride: along both axes.
        padding: as in `depthwise.depthwise_conv`.

    Returns:
        `[N, H', W', Cout]` in the dtype of `x`.
    """
    geometry = geometry_of(x.shape, kernel.shape, stride, padding)
    if x.shape[-1] <= _IMAGE_CHANNELS:
        on_cpu = functools.partial(_grouped_product, geometry)
    elif all(axis.output < axis.kernel for axis in (geometry.rows, geometry.cols)):
        on_cpu = functools.partial(_whole_map_product, geometry)
    elif kernel.shape[:2] == (1, 1):
        on_cpu = functools.partial(_strided_product, geometry)
    else:
        return _convolution(geometry, x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=functools.partial(_lax_convolution, geometry))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolution(geometry: Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
    return _lax_convolution(geometry, x, w)


def _backward(geometry: Geometry, arrays: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = arrays
    return (
        lax.platform_dependent(
            g,
            w,
            cpu=functools.partial(_turned_convolution, geometry),
            default=functools.partial(_lax_input_gradient, geometry),
        ),
        lax.platform_dependent(
            x,
            g,
            cpu=functools.partial(_product_of_shifted, geometry),
            default=functools.partial(_lax_filter_gradient, geometry),
        ),
    )


_convolution.defvjp(lambda geometry, x, w: (_convolution(geometry, x, w), (x, w)), _backward)


def _lax_convolution(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    rows, cols = geometry.rows, geometry.cols
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(rows.stride, cols.stride),
        padding=[(axis.low, axis.high) for axis in (rows, cols)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _lax_input_gradient(geometry: Geometry, g: jax.Array, w: jax.Array) -> jax.Array:
    x = jax.ShapeDtypeStruct((g.shape[0], geometry.rows.size, geometry.cols.size, w.shape[2]), g.dtype)
    return jax.linear_transpose(lambda x: _lax_convolution(geometry, x, w), x)(g)[0]


def _lax_filter_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    w = jax.ShapeDtypeStruct((geometry.rows.kernel, geometry.cols.kernel, x.shape[3], g.shape[3]), x.dtype)
    return jax.linear_transpose(lambda w: _lax_convolution(geometry, x, w), w)(g)[0]


# --- Gradients for CPUs. Inside a loop, as several training steps in one program are, XLA:CPU takes plain loops, ten to
# a hundred times as slow, for every convolution that does not read NHWC and HWIO; its own gradients do not. ---


def _turned_convolution(geometry: Geometry, g: jax.Array, w: jax.Array) -> jax.Array:
    """The input gradient as a convolution of the gradient, spread by the stride, with the kernel turned around."""
    axes = geometry.rows, geometry.cols
    return lax.conv_general_dilated(
        g,
        jnp.swapaxes(w[::-1, ::-1], 2, 3),
        window_strides=(1, 1),
        padding=[_pads_of_gradient(axis) for axis in axes],
        lhs_dilation=[axis.stride for axis in axes],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _product_of_shifted(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """The filter gradient as one product of inputs, shifted by every row of the kernel, and gradients by every column.

    All shifts on one side would make that side k times as large again, which takes longer to write than to multiply.
    """
    rows, cols, channels, filters = geometry.rows, geometry.cols, x.shape[3], g.shape[3]
    zero, untouched = jnp.zeros((), x.dtype), (0, 0, 0)
    x = lax.pad(x, zero, [untouched, (rows.low, rows.reach - rows.low - rows.size, 0), untouched, untouched])
    g = lax.pad(g, zero, [untouched, untouched, (*_pads_of_gradient(cols), cols.stride - 1), untouched])
    by_row = [lax.slice_in_dim(x, p, p + _spread(rows), rows.stride, axis=1) for p in range(rows.kernel)]
    by_col = [lax.slice_in_dim(g, q, q + cols.size, axis=2) for q in reversed(range(cols.kernel))]
    y = transposed_product(
        jnp.concatenate(by_row, axis=-1).reshape(-1, rows.kernel * channels),
        jnp.concatenate(by_col, axis=-1).reshape(-1, cols.kernel * filters),
    )
    return y.reshape(rows.kernel, channels, cols.kernel, filters).swapaxes(1, 2)


def _spread(axis: Axis) -> int:
    """Number of inputs from the first that one tap of the kernel reads to its last."""
    return axis.stride * (axis.output - 1) + 1


def _pads_of_gradient(axis: Axis) -> tuple[int, int]:
    """Zeros around the gradient, spread by the stride, so that every input finds all outputs that it may have met."""
    return axis.kernel - 1 - axis.low, axis.size + axis.low - _spread(axis)


# --- Forward functions for CPUs. -----------------------------------------------------------------------------


def _strided_product(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    x = shifted_sums.pad(geometry, x)
    return pointwise_conv(x[:, :: geometry.rows.stride, :: geometry.cols.stride], kernel)


def _grouped_product(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    rows, cols, channels, filters = geometry.rows, geometry.cols, *kernel.shape[2:]
    per_group = max(_GROUP_COLUMNS // cols.stride, 1)  # outputs
    step = per_group * cols.stride  # inputs from one group to the next
    span = step - cols.stride + cols.kernel  # inputs that one group reads
    groups = -(-cols.output // per_group)
    pieces = range(0, span, step)
    # Padded to exactly what is read; where a row has more outputs than the result, zeros are read for these.
    width = step * (groups + len(pieces) - 1)
    pads = [(rows.low, rows.reach - rows.low - rows.size, 0), (cols.low, width - cols.low - cols.size, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    x = x.reshape(x.shape[0], rows.reach, -1, step * channels)
    patches = [
        lax.slice_in_dim(x, p, p + rows.stride * (rows.output - 1) + 1, rows.stride, axis=1)[
            :, :, nth : nth + groups, : min(step, span - start) * channels
        ]
        for p in range(rows.kernel)
        for nth, start in enumerate(pieces)
    ]
    y = lax.dot(
        jnp.concatenate(patches, axis=-1).reshape(-1, rows.kernel * span * channels),
        _banded(kernel, per_group, cols.stride, span).reshape(-1, per_group * filters).astype(x.dtype),
    )
    return y.reshape(x.shape[0], rows.output, groups * per_group, filters)[:, :, : cols.output]


def _banded(kernel: jax.Array, count: int, stride: int, span: int) -> jax.Array:
    """Returns the kernel of `count` neighbouring outputs, `[k, span, Cin, count, Cout]`."""
    shifts = [stride * nth for nth in range(count)]
    padded = [jnp.pad(kernel, [(0, 0), (s, span - kernel.shape[1] - s), (0, 0), (0, 0)]) for s in shifts]
    return jnp.stack(padded, axis=3)


def _whole_map_product(geometry: Geometry, x: jax.Array, kernel: jax.Array) -> jax.Array:
    rows, cols = geometry.rows, geometry.cols
    inputs = rows.size * cols.size * kernel.shape[2]
    matrix = _whole_map_matrix(geometry, kernel).reshape(inputs, -1).astype(x.dtype)
    y = lax.dot(x.reshape(-1, inputs), matrix)
    return y.reshape(x.shape[0], rows.output, cols.output, kernel.shape[3])


def _whole_map_matrix(geometry: Geometry, kernel: jax.Array) -> jax.Array:
    """Returns what each output reads of each input, `[H, W, Cin, H' W', Cout]`."""
    zero = jnp.zeros((), kernel.dtype)

    def placed(row: int, col: int) -> jax.Array:
        """The kernel where one output lies; what sticks out of the map is cut off."""
        pads = []
        for axis, output in ((geometry.rows, row), (geometry.cols, col)):
            start = axis.stride * output - axis.low
            pads.append((start, axis.size - start - axis.kernel, 0))
        return lax.pad(kernel, zero, [*pads, (0, 0, 0), (0, 0, 0)])

    pieces = [placed(row, col) for row in range(geometry.rows.output) for col in range(geometry.cols.output)]
    return jnp.stack(pieces, axis=3)
