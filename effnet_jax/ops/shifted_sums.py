"""Depthwise convolution for CPUs: sums over shifted images, and a loop for the filter gradient.

See `depthwise` for what the functions compute. All take a `Geometry` and two arrays and may be differentiated
only through `depthwise`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from effnet_jax.ops.geometry import Taps
from effnet_jax.process import runtime, target

# Row products in one step of the filter gradient. Where XLA makes a kernel of the whole loop a step costs nothing, and
# fewer products compile faster; elsewhere a step calls a kernel for every tap, which has to be worth it.
_ROWS_IN_A_KERNEL, _ROWS_BETWEEN_KERNELS = 8, 32
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
    """A loop over blocks of rows; each step adds an unrolled sum of row products to every tap's total.

    Totals are `[columns, C]`. Summing over columns only at the end leaves the loop purely elementwise, which
    XLA:CPU vectorises. A block is several images of a small map, or some rows of one image of a large map.

    The batch is split into as many equal parts as there are devices, summed side by side: a loop over a batch
    that is split over devices would gather every row it reads, but what each part reads is the device's own.
    """
    rows, cols = geometry.rows, geometry.cols
    batch, channels, dtype = x.shape[0], x.shape[3], _accumulator(x.dtype)
    shares = target.device_count()
    if batch % shares:
        shares = 1
    most = _ROWS_IN_A_KERNEL if runtime.loops_are_kernels() else _ROWS_BETWEEN_KERNELS
    parts = -(-rows.output // most)
    images = 1
    if parts == 1 and isinstance(batch, int):
        images = max(d for d in range(1, most // rows.output + 1) if batch // shares % d == 0)
    block = -(-rows.output // parts)
    row_spans = rows.spans()
    if parts > 1:
        # Which rows of a part meet padding is not known beforehand: there has to be some. Already padded inputs
        # of a height that the parts divide, as is usual, need none.
        below = rows.stride * (block * parts - 1) + rows.kernel - rows.low - rows.size
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (rows.low, below, 0), (0, 0, 0), (0, 0, 0)])
        missing = max(block * parts - rows.output - rows.margins[1], 0)
        g = jnp.pad(g, [(0, 0), (0, missing), (0, 0), (0, 0)])
        row_spans = [(p, 0, block, p) for p, _ in rows.forward_taps()]
    taps = list(itertools.product(row_spans, cols.spans()))

    def add_block(totals, step):
        step = step.astype(jnp.uint32)  # unsigned: an index that may be negative is compared with zero
        image, part = step // parts * images, step % parts
        x_rows, g_rows = (_Rows(a, shares, image, part * first) for a, first in ((x, rows.stride * block), (g, block)))
        new = []
        for total, ((_, i, height, top), (_, j, width, left)) in zip(totals, taps):
            for nth, row in itertools.product(range(images), range(height)):
                x_row = x_rows.get(nth, top + rows.stride * row, left, width, cols.stride)
                g_row = g_rows.get(nth, rows.margins[0] + i + row, cols.margins[0] + j, width)
                total = lax.add(total, lax.mul(x_row.astype(dtype), g_row.astype(dtype)))
            new.append(total)
        return tuple(new), None

    steps = batch // shares // images * parts
    loops = 2 if isinstance(steps, int) and g.size * len(taps) > _LONG_LOOP else 1
    totals = tuple(jnp.zeros((shares, width, channels), dtype) for _, (_, _, width, _) in taps)
    summed = [
        lax.scan(add_block, totals, jnp.arange(n * steps // loops, (n + 1) * steps // loops))[0] for n in range(loops)
    ]
    by_tap = {(p, q): sum(halves).sum((0, 1)) for *halves, ((p, *_), (q, *_)) in zip(*summed, taps)}
    zero = jnp.zeros((channels,), dtype)
    dw = [[by_tap.get((p, q), zero) for q in range(cols.kernel)] for p in range(rows.kernel)]
    return jnp.stack([jnp.stack(line) for line in dw])[:, :, None].astype(x.dtype)


class _Rows:
    """Parts of the rows of `[N, H, W, C]` from a moving place on, each cut once.

    A filter gradient has thousands of row products, and tracing their slices anew, with the indexing of NumPy at that,
    took longer than compiling them. A row is read by one index into all pixels, where it is multiplied: a block cut
    out beforehand would be a copy, and cost as much as the products.
    """

    def __init__(self, images: jax.Array, shares: int, image: jax.Array, row: jax.Array):
        n, self._height, self._width, channels = images.shape
        self._pixels = images.reshape(shares, n // shares * self._height * self._width, channels)
        self._first = (image * self._height + row) * self._width
        self._cut: dict[tuple[int, ...], jax.Array] = {}

    def get(self, image: int, row: int, column: int, width: int, stride: int = 1) -> jax.Array:
        """`[shares, width, C]`, every `stride`-th pixel from a column on; image and row count from the place."""
        key = image, row, column, width
        if key not in self._cut:
            shares, _, channels = self._pixels.shape
            zero, offset = np.uint32(0), np.uint32((image * self._height + row) * self._width + column)
            size = (shares, stride * (width - 1) + 1, channels)
            part = lax.dynamic_slice(self._pixels, (zero, self._first + offset, zero), size)
            self._cut[key] = lax.slice_in_dim(part, 0, None, stride, axis=1)
        return self._cut[key]
