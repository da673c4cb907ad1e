"""Depthwise convolution for CPUs: sums over shifted images, and a scan for the filter gradient.

See `depthwise` for what the functions compute. All take a `Geometry` and two arrays and may be differentiated
only through `depthwise`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops.geometry import Taps

# Row products in one step of the filter gradient. Measured over the shapes of B0: 32 takes about half the
# time of 16 or 24, and 48 gains no more.
_UNROLLED_ROWS = 32


# Blocks of one shape share a trace and a function of the lowered program, which XLA inlines.
_traced_once = functools.partial(jax.jit, static_argnums=0)


def _accumulator(dtype):
    return jnp.promote_types(dtype, jnp.float32)


def _shifted_sum(source, w, row_taps: Taps, col_taps: Taps, stride: int, shape: tuple[int, int]):
    """`out[m, n] = sum over taps of source[stride * m + row offset, stride * n + col offset] * w[tap]`.

    Reads outside `source` are zero. The result has spatial `shape` and the accumulator's dtype.
    """
    dtype = _accumulator(source.dtype)
    if not row_taps or not col_taps:
        return jnp.zeros((source.shape[0], *shape, source.shape[3]), dtype)
    pads, starts = [], []
    for axis, taps in ((0, row_taps), (1, col_taps)):
        offsets = [offset for _, offset in taps]
        first, last = min(offsets), max(offsets) + stride * (shape[axis] - 1)
        pads.append((-first, last + 1 - source.shape[1 + axis], 0))  # negative padding crops
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
    return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)]))


@_traced_once
def forward(geometry, x, w):
    """The convolution itself: one scaled, shifted, strided view of `x` a tap, summed."""
    if any((axis.low, axis.high) != (0, 0) for axis in (geometry.rows, geometry.cols)):
        x, geometry = pad(geometry, x), geometry.without_padding()
    rows, cols = geometry.rows, geometry.cols
    shape = (rows.output, cols.output)
    y = _shifted_sum(x, w, rows.forward_taps(), cols.forward_taps(), rows.stride, shape)
    return y.astype(x.dtype)


@_traced_once
def input_gradient(geometry, g, w):
    """Every stride phase of the input is a dense shifted sum of `g`; the phases are then interleaved."""
    rows, cols, stride = geometry.rows, geometry.cols, geometry.rows.stride
    shape = (-(-rows.size // stride), -(-cols.size // stride))
    phases = [
        [
            _shifted_sum(g, w, rows.backward_taps(r), cols.backward_taps(c), 1, shape).astype(g.dtype)
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
    """Sums the filter gradients of as many equal parts of the batch as there are devices.

    A scan over a batch that is split over devices would gather every slice it takes. Parts that the devices
    own are scanned side by side instead, and only their sum crosses devices. One device has one part.
    """
    batch, devices = x.shape[0], jax.device_count()
    if devices == 1 or batch % devices:
        return _scanned_filter_gradient(geometry, x, g).astype(x.dtype)
    parts = [a.reshape(devices, batch // devices, *a.shape[1:]) for a in (x, g)]
    return jax.vmap(functools.partial(_scanned_filter_gradient, geometry))(*parts).sum(0).astype(x.dtype)


class _Rows:
    """Parts of the rows of `[N, H, W, C]`, each cut once.

    A filter gradient has thousands of row products, and tracing their slices anew, with the indexing of NumPy at that,
    took longer than compiling them.
    """

    def __init__(self, block: jax.Array, stride: int):
        self._block, self._stride = block, stride
        self._cut: dict[tuple[int, ...], jax.Array] = {}

    def get(self, image: int, row: int, column: int, width: int) -> jax.Array:
        """`block[image, row, column::stride]`, `width` pixels of it: `[width, C]`."""
        key = image, row, column, width
        if key not in self._cut:
            channels, end = self._block.shape[3], column + self._stride * (width - 1) + 1
            part = lax.slice(
                self._block, (image, row, column, 0), (image + 1, row + 1, end, channels), (1, 1, self._stride, 1)
            )
            self._cut[key] = lax.squeeze(part, (0, 1))
        return self._cut[key]


def _scanned_filter_gradient(geometry, x, g):
    """A scan over blocks of images; each step adds an unrolled sum of row products to every tap's total.

    The result has the accumulator's dtype.

    Totals are `[columns, C]`. Summing over columns only at the end leaves the loop purely elementwise, which
    XLA:CPU vectorises. A block has up to `_UNROLLED_ROWS` rows of `g`: several images of a small map, a part
    of one image of a large map.
    """
    rows, cols = geometry.rows, geometry.cols
    batch, channels, dtype = x.shape[0], x.shape[3], _accumulator(x.dtype)
    parts = -(-rows.output // _UNROLLED_ROWS)
    images = 1
    if parts == 1 and isinstance(batch, int):
        images = max(d for d in range(1, _UNROLLED_ROWS // rows.output + 1) if batch % d == 0)
    block = -(-rows.output // parts)
    reach = x.shape[1]
    row_spans = rows.spans()
    if parts > 1:
        # Which rows of a part meet padding is not known beforehand: there has to be some. Already padded inputs
        # of a height that the parts divide, as is usual, need none.
        reach = rows.stride * (block - 1) + rows.kernel
        below = rows.stride * block * (parts - 1) + reach - rows.low - rows.size
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (rows.low, below, 0), (0, 0, 0), (0, 0, 0)])
        g = jnp.pad(g, [(0, 0), (0, block * parts - rows.output), (0, 0), (0, 0)])
        row_spans = [(p, 0, block, p) for p, _ in rows.forward_taps()]
    taps = list(itertools.product(row_spans, cols.spans()))

    def add_block(totals, index):
        # Slices, not a scan over reshaped arrays: XLA:CPU would give the reshaped copy a layout of its own.
        image, part = index // parts * images, index % parts
        x_start, g_start = (image, part * rows.stride * block, 0, 0), (image, part * block, 0, 0)
        x_block = lax.dynamic_slice(x, x_start, (images, reach, *x.shape[2:])).astype(dtype)
        g_block = lax.dynamic_slice(g, g_start, (images, block, *g.shape[2:])).astype(dtype)
        x_rows, g_rows = _Rows(x_block, cols.stride), _Rows(g_block, 1)
        new = []
        for total, ((_, i, height, top), (_, j, width, left)) in zip(totals, taps):
            for nth, row in itertools.product(range(images), range(height)):
                x_row = x_rows.get(nth, top + rows.stride * row, left, width)
                total = lax.add(total, lax.mul(x_row, g_rows.get(nth, i + row, j, width)))
            new.append(total)
        return tuple(new), None

    totals = tuple(jnp.zeros((width, channels), dtype) for _, (_, _, width, _) in taps)
    totals, _ = lax.scan(add_block, totals, jnp.arange(batch // images * parts))
    by_tap = {(p, q): total.sum(0) for total, ((p, *_), (q, *_)) in zip(totals, taps)}
    zero = jnp.zeros((channels,), dtype)
    dw = [[by_tap.get((p, q), zero) for q in range(cols.kernel)] for p in range(rows.kernel)]
    return jnp.stack([jnp.stack(line) for line in dw])[:, :, None]
