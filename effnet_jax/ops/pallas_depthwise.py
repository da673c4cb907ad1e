"""Depthwise convolution as Pallas kernels for NVIDIA GPUs (Triton): a candidate, not yet a choice.

See `depthwise` for what the functions compute and for `Geometry`. They run on a GPU, or anywhere with
`interpret=True`. None has been timed on a GPU so far, so `depthwise` does not choose them;
`scripts/benchmark.py --sections depthwise` sets them beside the other formulations on a GPU.

Arrays are addressed as flat memory, because blocks have sides that are powers of two and maps have not.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from effnet_jax.ops.geometry import Geometry

_COLUMNS, _CHANNELS = 16, 64  # of one block at most
_FILTER_PROGRAMS = 64  # that share the rows of a filter gradient, per block of channels


def forward(geometry: Geometry, x: jax.Array, w: jax.Array, interpret: bool = False) -> jax.Array:
    """`[N, H, W, C], [k, k, 1, C] -> [N, H', W', C]`."""
    rows, cols = geometry.rows, geometry.cols

    def source(axis, tap, position):
        return position * axis.stride + tap - axis.low, True

    return _gather(geometry, source, x, w, (rows.output, cols.output), interpret)


def input_gradient(geometry: Geometry, g: jax.Array, w: jax.Array, interpret: bool = False) -> jax.Array:
    """`[N, H', W', C], [k, k, 1, C] -> [N, H, W, C]`."""

    def source(axis, tap, position):
        reached = position + axis.low - tap
        return reached // axis.stride, reached % axis.stride == 0

    return _gather(geometry, source, g, w, (geometry.rows.size, geometry.cols.size), interpret)


def filter_gradient(geometry: Geometry, x: jax.Array, g: jax.Array, interpret: bool = False) -> jax.Array:
    """`[N, H, W, C], [N, H', W', C] -> [k, k, 1, C]`."""
    rows, cols = geometry.rows, geometry.cols
    batch, channels = x.shape[0], x.shape[3]
    columns, block = _block(cols.output), min(_CHANNELS, _block(channels))
    lines = batch * rows.output
    programs = min(_FILTER_PROGRAMS, lines)
    taps = list(itertools.product(range(rows.kernel), range(cols.kernel)))

    def kernel(x_ref, g_ref, out_ref):
        program = pl.program_id(0)  # here, because interpret mode does not know it inside of a loop
        channel = pl.program_id(1) * block + jnp.arange(block)
        column = jnp.arange(columns)

        def add_line(step, totals):
            line = program + step * programs
            image, row = line // rows.output, line % rows.output
            inside = (line < lines) & (column < cols.output)[:, None] & (channel < channels)[None]
            g_line = _load(g_ref, (line, column[:, None], channel[None]), (cols.output, channels), inside)
            new = []
            for total, (p, q) in zip(totals, taps):
                top, left = row * rows.stride + p - rows.low, column * cols.stride + q - cols.low
                met = inside & (top >= 0) & (top < rows.size) & ((left >= 0) & (left < cols.size))[:, None]
                place = (image * rows.size + top, left[:, None], channel[None])
                new.append(total + jnp.sum(_load(x_ref, place, (cols.size, channels), met) * g_line, axis=0))
            return tuple(new)

        totals = tuple(jnp.zeros(block, jnp.float32) for _ in taps)
        totals = jax.lax.fori_loop(0, pl.cdiv(lines, programs), add_line, totals)
        for index, total in enumerate(totals):
            place = (program * len(taps) + index) * channels + channel
            triton.store(out_ref.at[place], total, mask=channel < channels)

    partial = pl.pallas_call(
        kernel,
        grid=(programs, pl.cdiv(channels, block)),
        out_shape=jax.ShapeDtypeStruct((programs * len(taps) * channels,), jnp.float32),
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(),
    )(x.reshape(-1), g.reshape(-1))
    summed = partial.reshape(programs, rows.kernel, cols.kernel, 1, channels).sum(0)
    return summed.astype(x.dtype)


def _gather(geometry, source, x, w, shape, interpret):
    """Sums over taps, each of `x` at `source(axis, tap, output position) -> (position, whether there is one)`."""
    batch, height, width, channels = x.shape
    columns, block = min(_COLUMNS, _block(shape[1])), min(_CHANNELS, _block(channels))

    def kernel(x_ref, w_ref, out_ref):
        line = pl.program_id(0)
        image, row = line // shape[0], line % shape[0]
        column = pl.program_id(1) * columns + jnp.arange(columns)
        channel = pl.program_id(2) * block + jnp.arange(block)
        inside = (column < shape[1])[:, None] & (channel < channels)[None]
        total = jnp.zeros((columns, block), jnp.float32)
        for p, q in itertools.product(range(geometry.rows.kernel), range(geometry.cols.kernel)):
            top, row_exists = source(geometry.rows, p, row)
            left, column_exists = source(geometry.cols, q, column)
            row_met = row_exists & (top >= 0) & (top < height)
            met = inside & row_met & (column_exists & (left >= 0) & (left < width))[:, None]
            place = (image * height + top, left[:, None], channel[None])
            weight = _load(w_ref, (p, q, channel), (geometry.cols.kernel, channels), channel < channels)
            total += _load(x_ref, place, (width, channels), met) * weight
        place = ((line * shape[1] + column) * channels)[:, None] + channel[None]
        triton.store(out_ref.at[place], total.astype(x.dtype), mask=inside)

    y = pl.pallas_call(
        kernel,
        grid=(batch * shape[0], pl.cdiv(shape[1], columns), pl.cdiv(channels, block)),
        out_shape=jax.ShapeDtypeStruct((batch * math.prod(shape) * channels,), x.dtype),
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(),
    )(x.reshape(-1), w.reshape(-1))
    return y.reshape(batch, *shape, channels)


def _load(ref, index, sizes, mask):
    """Reads `[line, column, channel]` of an array with `sizes` (columns, channels) a line, float32, else 0."""
    line, column, channel = index
    return triton.load(ref.at[(line * sizes[0] + column) * sizes[1] + channel], mask=mask, other=0).astype(jnp.float32)


def _block(size: int) -> int:
    return 1 << (size - 1).bit_length()


KERNELS = {"forward": forward, "input gradient": input_gradient, "filter gradient": filter_gradient}
