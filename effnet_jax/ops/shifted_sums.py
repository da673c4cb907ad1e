"""Depthwise convolution for CPUs: sums over shifted images, and a loop for the filter gradient.

See `depthwise` for what the functions compute. All take a `Geometry` and two arrays and may be differentiated
only through `depthwise`.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from effnet_jax.ops.geometry import Axis, Geometry, Taps
from effnet_jax.process import runtime, target

# What one step of the filter gradient takes, see `_block_of`. Measured on one core over shapes of B0 and of networks
# for 16 to 32 pixels: 1.0 to 1.9 times as fast as eight whole rows, where those do not divide the map up to 3.5 times.
_PIXELS_IN_A_KERNEL, _PRODUCTS_OF_A_MAP, _IMAGES_OF_A_MAP = 4, 200, 8
_ROWS_BETWEEN_KERNELS = 32
# Multiply-adds from which the filter gradient is two loops and not one: a kernel is the work of one thread, and one of
# several milliseconds leaves the others waiting at the end of a step.
_LONG_LOOP = 1 << 25


# Blocks of one shape share a trace and a function of the lowered program, which XLA inlines.
_traced_once = functools.partial(jax.jit, static_argnums=0)


def _accumulator(dtype):
    return jnp.promote_types(dtype, jnp.float32)


def shifted_sum(
    source, w, row_taps: Taps, col_taps: Taps, stride: int, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
):
    """`out[m, n] = sum over taps of source[stride * m + row offset, stride * n + col offset] * w[tap]`.

    Offsets count from `origin`, and reads outside `source` are zero. The result has spatial `shape` and the
    accumulator's dtype.
    """
    dtype = _accumulator(source.dtype)
    if not row_taps or not col_taps:
        return jnp.zeros((source.shape[0], *shape, source.shape[3]), dtype)
    pads, starts = [], []
    for axis, taps in ((0, row_taps), (1, col_taps)):
        offsets = [offset for _, offset in taps]
        first, last = min(offsets), max(offsets) + stride * (shape[axis] - 1)
        pads.append((-first - origin[axis], last + 1 + origin[axis] - source.shape[1 + axis], 0))  # negative ones crop
        starts.append(first)
    padded = lax.pad(source, jnp.zeros((), source.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    w = w.astype(dtype)
    total = None
    for p, row in row_taps:
        for q, col in col_taps:
            part = padded
            for axis, start in ((1, row - starts[0]), (2, col - starts[1])):
                limit = start + stride * (shape[axis - 1] - 1) + 1
                part = lax.slice_in_dim(part, start, limit, stride, axis)
            term = part.astype(dtype) * w[p, q, 0]
            total = term if total is None else total + term
    return total


def pad(geometry, x):
    """Pads, or crops where the last rows are never read, to exactly what the outputs read.

    What makes `x` and the padding become one pass: without the barrier XLA looks ahead at the many readers of the
    padded array, and writes the sigmoid of a swish to memory as an array of its own.
    """
    pads = [(axis.low, axis.reach - axis.low - axis.size, 0) for axis in (geometry.rows, geometry.cols)]
    return _padded(x, pads)


def add_margins(geometry, g):
    """Pads the gradient at the outputs by the margins of the geometry; as for `pad`, in one pass with what makes it."""
    margins = [(*axis.margins, 0) for axis in (geometry.rows, geometry.cols)]
    return _padded(g, margins) if any(map(any, margins)) else g


def without_margins(geometry, g):
    """Undoes `add_margins`."""
    (top, _), (left, _) = geometry.rows.margins, geometry.cols.margins
    return g[:, top : top + geometry.rows.output, left : left + geometry.cols.output]


def _padded(images, pads):
    return lax.optimization_barrier(lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


@_traced_once
def forward(geometry, x, w):
    """The convolution itself: one scaled, shifted, strided view of `x` a tap, summed."""
    if any((axis.low, axis.high) != (0, 0) for axis in (geometry.rows, geometry.cols)):
        x, geometry = pad(geometry, x), geometry.without_padding()
    rows, cols = geometry.rows, geometry.cols
    shape = (rows.output, cols.output)
    y = shifted_sum(x, w, rows.forward_taps(), cols.forward_taps(), rows.stride, shape)
    return y.astype(x.dtype)


@_traced_once
def input_gradient(geometry, g, w):
    """Every stride phase of the input is a dense shifted sum of `g`; the phases are then interleaved."""
    rows, cols, stride = geometry.rows, geometry.cols, geometry.rows.stride
    shape, origin = (rows.inputs_per_phase, cols.inputs_per_phase), (rows.margins[0], cols.margins[0])
    phases = [
        [
            shifted_sum(g, w, rows.backward_taps(r), cols.backward_taps(c), 1, shape, origin).astype(g.dtype)
            for c in range(stride)
        ]
        for r in range(stride)
    ]
    if stride == 1:
        return phases[0][0]
    stacked = jnp.stack([jnp.stack(line, axis=3) for line in phases], axis=2)  # [N, m, r, n, c, C]
    n, channels = g.shape[0], g.shape[3]
    dx = stacked.reshape(n, shape[0] * stride, shape[1] * stride, channels)
    return dx[:, : rows.size, : cols.size]


@_traced_once
def filter_gradient(geometry, x, g):
    """A loop over blocks of outputs; each step adds an unrolled sum of products to every tap's total.

    A product takes one pixel or a row of them, `[width, C]`, and so do totals: that leaves the loop purely elementwise,
    and XLA:CPU vectorises it.

    The batch is split into as many equal parts as there are devices, summed side by side: a loop over a batch
    that is split over devices would gather every row it reads, but what each part reads is the device's own.
    """
    if any((axis.low, axis.high) != (0, 0) for axis in (geometry.rows, geometry.cols)):
        x, geometry = pad(geometry, x), geometry.without_padding()
    rows, cols, stride = geometry.rows, geometry.cols, geometry.rows.stride
    batch, channels, dtype = x.shape[0], x.shape[3], _accumulator(x.dtype)
    shares = target.device_count()
    if batch % shares:
        shares = 1
    block = _block_of(geometry, batch // shares if isinstance(batch, int) else 1)
    down, across = rows.output // block.rows, cols.output // block.columns
    taps = list(itertools.product(_spans(rows, block.rows), _spans(cols, block.columns)))
    widths = [count if block.whole_rows else 1 for _, (_, _, count, _) in taps]
    x, g = _in_shares(x, shares), _in_shares(g, shares)

    def add_block(totals, step):
        step = step.astype(jnp.uint32)  # unsigned: an index that may be negative is compared with zero
        column, part = step % across * block.columns, step // across
        row, image = part % down * block.rows, part // down * block.images
        cut_x = _cutter(x, image, row * stride, column * stride)
        cut_g = _cutter(g, image, row + rows.margins[0], column + cols.margins[0])
        new = []
        for total, width, ((_, i, height, top), (_, j, count, left)) in zip(totals, widths, taps):
            for nth, r, c in itertools.product(range(block.images), range(height), range(0, count, width)):
                x_part = cut_x(nth, top + stride * r, left + stride * c, width, stride)
                g_part = cut_g(nth, i + r, j + c, width)
                total = lax.add(total, lax.mul(x_part.astype(dtype), g_part.astype(dtype)))
            new.append(total)
        return tuple(new), None

    steps = batch // shares // block.images * down * across
    loops = 2 if isinstance(steps, int) and g.size * len(taps) > _LONG_LOOP else 1
    totals = tuple(jnp.zeros((*x.shape[:-4], width, channels), dtype) for width in widths)
    summed = [
        lax.scan(add_block, totals, jnp.arange(n * steps // loops, (n + 1) * steps // loops))[0] for n in range(loops)
    ]
    by_tap = {(p, q): sum(halves).reshape(-1, channels).sum(0) for *halves, ((p, *_), (q, *_)) in zip(*summed, taps)}
    zero = jnp.zeros((channels,), dtype)
    dw = [[by_tap.get((p, q), zero) for q in range(cols.kernel)] for p in range(rows.kernel)]
    return jnp.stack([jnp.stack(line) for line in dw])[:, :, None].astype(x.dtype)


class _Block(NamedTuple):
    """The outputs of one step, and whether a product takes what there is of a row or a pixel."""

    images: int
    rows: int
    columns: int
    whole_rows: bool = False


def _block_of(geometry: Geometry, batch: int) -> _Block:
    """A block that divides the outputs of `batch` images.

    Where XLA makes a kernel of the whole loop, a step costs nothing, and few pixels at a time stay in the fastest cache
    and compile fast: two by two, or as many of several images where the map's sides are odd. Small maps are taken
    whole, larger ones column by column, without the products that meet padding, as long as a step has few products.
    Elsewhere a step calls a kernel for every tap, which has to be worth it, so it takes whole rows.
    """
    rows, cols = geometry.rows, geometry.cols
    if not runtime.loops_are_kernels():
        height = _largest_divisor(rows.output, _ROWS_BETWEEN_KERNELS)
        images = _ROWS_BETWEEN_KERNELS // height if height == rows.output else 1
        return _Block(_largest_divisor(batch, images), height, cols.output, whole_rows=True)
    products = math.prod(sum(count for _, _, count, _ in axis.spans()) for axis in (rows, cols))
    if products <= _PRODUCTS_OF_A_MAP:
        images = min(_PRODUCTS_OF_A_MAP // max(products, 1), _IMAGES_OF_A_MAP)
        return _Block(_largest_divisor(batch, images), rows.output, cols.output)
    if sum(count for _, _, count, _ in rows.spans()) * cols.kernel <= _PRODUCTS_OF_A_MAP:
        return _Block(1, rows.output, 1)
    height, width = (_largest_divisor(axis.output, 2) for axis in (rows, cols))
    return _Block(_largest_divisor(batch, _PIXELS_IN_A_KERNEL // (height * width)), height, width)


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, max(most, 1) + 1) if n % d == 0)


def _spans(axis: Axis, outputs: int) -> list[tuple[int, int, int, int]]:
    """`Axis.spans` within a block: only where it is the whole axis is it known what meets padding."""
    if outputs == axis.output:
        return axis.spans()
    return [(p, 0, outputs, p) for p, _ in axis.forward_taps()]


def _in_shares(images: jax.Array, shares: int) -> jax.Array:
    """`[N, H, W, C] -> [shares, N / shares, H, W, C]`, or the same array for one share."""
    return images if shares == 1 else images.reshape(shares, -1, *images.shape[1:])


def _cutter(images: jax.Array, image: jax.Array, row: jax.Array, column: jax.Array) -> Callable[..., jax.Array]:
    """Returns what cuts neighbouring pixels out of `[..., N, H, W, C]`, each once, and counts from this place.

    A filter gradient has hundreds of products, and tracing their slices anew, with the indexing of NumPy at that,
    took longer than compiling them. A pixel is read where it is multiplied: a block cut out beforehand would be a copy,
    and cost as much as the products. So would images reshaped to a list of pixels: XLA writes them, padded, once more.
    """
    *shares, _, _, _, channels = images.shape
    zero = np.uint32(0)

    @functools.cache
    def cut(nth: int, r: int, c: int, width: int, stride: int = 1) -> jax.Array:
        """`[..., width, C]`, every `stride`-th pixel."""
        place = image + np.uint32(nth), row + np.uint32(r), column + np.uint32(c)
        size = stride * (width - 1) + 1
        pixels = lax.dynamic_slice(images, (*[zero] * len(shares), *place, zero), (*shares, 1, 1, size, channels))
        return lax.slice_in_dim(pixels.reshape(*shares, size, channels), 0, None, stride, axis=len(shares))

    return cut
