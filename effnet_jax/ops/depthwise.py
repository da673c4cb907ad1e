"""Depthwise convolution: one function, one formulation per backend, gradients that stay fast.

XLA's grouped convolution is the slowest operation of an EfficientNet on a CPU, its gradients even more so.
A depthwise convolution is a small sum, though: for every tap of the kernel one shifted copy of the image
times one number per channel. Written like that, XLA:CPU turns forward and input gradient into one vectorised
loop each.

Three functions that are linear in each argument make the whole: `F(x, w)` the convolution, `D(g, w)` its
input gradient and `W(x, g)` its filter gradient. The gradients of each are again two of the three, so the
operation can be differentiated any number of times in reverse mode. Forward mode (`jax.jvp`) is not defined.

The backend is chosen when the program is lowered (`jax.lax.platform_dependent`), not when it is traced, so
that `jax.export` on a CPU for a GPU gives the GPU's formulation.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Padding = str | Sequence[Sequence[int]]
# Which (index in the kernel, offset in the source) pairs one axis of a shifted sum runs over.
Taps = list[tuple[int, int]]

# Row products in one step of the filter gradient. Measured over the shapes of B0: 32 takes about half the
# time of 16 or 24, and 48 gains no more.
_UNROLLED_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: all that is static about it."""

    size: int
    kernel: int
    stride: int
    low: int
    high: int

    @property
    def output(self) -> int:
        return (self.size + self.low + self.high - self.kernel) // self.stride + 1

    def forward_taps(self) -> Taps:
        """Output `i` reads input `stride * i + offset`; taps that only ever meet padding are left out."""
        taps = ((p, p - self.low) for p in range(self.kernel))
        return [(p, o) for p, o in taps if o < self.size and o + self.stride * (self.output - 1) >= 0]

    def spans(self) -> list[tuple[int, int, int, int]]:
        """Per tap `(index, first output, number of outputs, first input)` of what meets no padding."""
        spans = []
        for p, offset in self.forward_taps():
            first = max(0, -(offset // self.stride))
            end = min(self.output, (self.size - 1 - offset) // self.stride + 1)
            if end > first:
                spans.append((p, first, end - first, first * self.stride + offset))
        return spans

    def backward_taps(self, phase: int) -> Taps:
        """Input `stride * m + phase` receives from output `m + offset`."""
        taps = ((p, *divmod(phase + self.low - p, self.stride)) for p in range(self.kernel))
        count = len(range(phase, self.size, self.stride))
        return [(p, o) for p, o, rest in taps if rest == 0 and o < self.output and o + count > 0]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The static half of a depthwise convolution."""

    rows: Axis
    cols: Axis


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
    pads = explicit_padding(x.shape[1:3], kernel.shape[:2], stride, padding)
    axes = [Axis(size, k, stride, *pad) for size, k, pad in zip(x.shape[1:3], kernel.shape[:2], pads, strict=True)]
    if min(axis.output for axis in axes) < 1:
        raise ValueError(f"a {kernel.shape[:2]} kernel with padding {pads} leaves nothing of {x.shape}")
    return _forward(Geometry(*axes), x, kernel.astype(x.dtype))


def explicit_padding(
    sizes: Sequence[int], kernel_sizes: Sequence[int], stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """Resolves a padding rule (see `depthwise_conv`) to `[(top, bottom), (left, right)]`."""
    if padding == "SAME":
        totals = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(sizes, kernel_sizes)]
        return [(total // 2, total - total // 2) for total in totals]
    if padding == "SYMMETRIC":
        return [((k - 1) // 2, (k - 1) // 2) for k in kernel_sizes]
    if isinstance(padding, str):
        raise ValueError(f"padding is 'SAME', 'SYMMETRIC' or ((top, bottom), (left, right)), not {padding!r}")
    (top, bottom), (left, right) = padding
    return [(top, bottom), (left, right)]


# --- The three bilinear functions; each one's gradients are the other two. ---------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(geometry: Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
    """F: `[N, H, W, C], [k, k, 1, C] -> [N, H', W', C]`."""
    return lax.platform_dependent(
        x,
        w,
        cpu=functools.partial(_shifted_forward, geometry),
        default=functools.partial(_lax_forward, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(geometry: Geometry, g: jax.Array, w: jax.Array) -> jax.Array:
    """D: `[N, H', W', C], [k, k, 1, C] -> [N, H, W, C]`."""
    return lax.platform_dependent(
        g,
        w,
        cpu=functools.partial(_shifted_input_gradient, geometry),
        default=functools.partial(_lax_input_gradient, geometry),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _filter_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """W: `[N, H, W, C], [N, H', W', C] -> [k, k, 1, C]`."""
    return lax.platform_dependent(
        x,
        g,
        cpu=functools.partial(_sharded_filter_gradient, geometry),
        default=functools.partial(_lax_filter_gradient, geometry),
    )


_forward.defvjp(
    lambda geometry, x, w: (_forward(geometry, x, w), (x, w)),
    lambda geometry, res, g: (_input_gradient(geometry, g, res[1]), _filter_gradient(geometry, res[0], g)),
)
_input_gradient.defvjp(
    lambda geometry, g, w: (_input_gradient(geometry, g, w), (g, w)),
    lambda geometry, res, x: (_forward(geometry, x, res[1]), _filter_gradient(geometry, x, res[0])),
)
_filter_gradient.defvjp(
    lambda geometry, x, g: (_filter_gradient(geometry, x, g), (x, g)),
    lambda geometry, res, w: (_input_gradient(geometry, res[1], w), _forward(geometry, res[0], w)),
)


# --- Shifted sums. -----------------------------------------------------------------------------------------


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


def _shifted_forward(geometry, x, w):
    rows, cols = geometry.rows, geometry.cols
    shape = (rows.output, cols.output)
    y = _shifted_sum(x, w, rows.forward_taps(), cols.forward_taps(), rows.stride, shape)
    return y.astype(x.dtype)


def _shifted_input_gradient(geometry, g, w):
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


def _sharded_filter_gradient(geometry, x, g):
    """Sums the filter gradients of as many equal parts of the batch as there are devices.

    A scan over a batch that is split over devices would gather every slice it takes. Parts that the devices
    own are scanned side by side instead, and only their sum crosses devices. One device has one part.
    """
    batch, devices = x.shape[0], jax.device_count()
    if devices == 1 or batch % devices:
        return _scanned_filter_gradient(geometry, x, g).astype(x.dtype)
    parts = [a.reshape(devices, batch // devices, *a.shape[1:]) for a in (x, g)]
    return jax.vmap(functools.partial(_scanned_filter_gradient, geometry))(*parts).sum(0).astype(x.dtype)


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
    # In a part of an image the rows that meet padding are not known beforehand: those images are padded.
    row_spans = rows.spans() if parts == 1 else [(p, 0, block, p) for p, _ in rows.forward_taps()]
    taps = list(itertools.product(row_spans, cols.spans()))

    def add_block(totals, x_block, g_block):
        x_block, g_block = x_block.astype(dtype), g_block.astype(dtype)
        new = []
        for total, ((_, i, height, top), (_, j, width, left)) in zip(totals, taps):
            columns = x_block[:, :, left : left + cols.stride * (width - 1) + 1 : cols.stride]
            for image, row in itertools.product(range(images), range(height)):
                total += columns[image, top + rows.stride * row] * g_block[image, i + row, j : j + width]
            new.append(total)
        return tuple(new)

    def add_images(totals, index):
        # Slices, not a scan over reshaped arrays: XLA:CPU would give the reshaped copy a layout of its own.
        x_images, g_images = (lax.dynamic_slice_in_dim(a, index * images, images, 0) for a in (x, g))
        if parts == 1:
            return add_block(totals, x_images, g_images), None
        reach = rows.stride * (block - 1) + rows.kernel  # input rows that one part of the output reads
        below = rows.stride * block * (parts - 1) + reach - rows.low - rows.size
        zero = jnp.zeros((), x.dtype)
        x_images = lax.pad(x_images, zero, [(0, 0, 0), (rows.low, below, 0), (0, 0, 0), (0, 0, 0)])
        g_images = jnp.pad(g_images, [(0, 0), (0, block * parts - rows.output), (0, 0), (0, 0)])

        def add_part(totals, part):
            x_part = lax.dynamic_slice_in_dim(x_images, part * rows.stride * block, reach, 1)
            g_part = lax.dynamic_slice_in_dim(g_images, part * block, block, 1)
            return add_block(totals, x_part, g_part), None

        return lax.scan(add_part, totals, jnp.arange(parts))

    totals = tuple(jnp.zeros((width, channels), dtype) for _, (_, _, width, _) in taps)
    totals, _ = lax.scan(add_images, totals, jnp.arange(batch // images))
    by_tap = {(p, q): total.sum(0) for total, ((p, *_), (q, *_)) in zip(totals, taps)}
    zero = jnp.zeros((channels,), dtype)
    dw = [[by_tap.get((p, q), zero) for q in range(cols.kernel)] for p in range(rows.kernel)]
    return jnp.stack([jnp.stack(line) for line in dw])[:, :, None]


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
    return jax.linear_transpose(lambda x: _lax_forward(geometry, x, w), x)(g)[0]


def _lax_filter_gradient(geometry, x, g):
    w = jax.ShapeDtypeStruct((geometry.rows.kernel, geometry.cols.kernel, 1, x.shape[3]), x.dtype)
    return jax.linear_transpose(lambda w: _lax_forward(geometry, x, w), w)(g)[0]
