"""Depthwise convolution for NVIDIA GPUs: sums over shifted images that XLA fuses into one kernel or two each.

cuDNN's grouped convolutions took 85 % of a training step of B0 in bfloat16 on an H100, XLA's autotuning being off
(results/gpu.md); these sums have not been measured on a GPU yet. Written like this, each of the three functions is one
pass over its operands, in both strides, with the padding fused into it. All sums are in float32 or wider, without TF32.

Operands and results are behind barriers. XLA would otherwise fuse what makes an operand and compute it for every tap
anew, and keep 16-bit results in memory as the float32 that they were summed in.

See `depthwise` for what the functions compute. All take a `Geometry` and two arrays and may be differentiated
only through `depthwise`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from effnet_jax.ops import shifted_sums
from effnet_jax.ops.geometry import Geometry


def forward(geometry: Geometry, x: jax.Array, w: jax.Array) -> jax.Array:
    """The convolution itself; unlike on a CPU the padding is part of the kernel, not an array of its own."""
    rows, cols, x = geometry.rows, geometry.cols, lax.optimization_barrier(x)
    shape = (rows.output, cols.output)
    y = shifted_sums.shifted_sum(x, w, rows.forward_taps(), cols.forward_taps(), rows.stride, shape)
    return lax.optimization_barrier(y.astype(x.dtype))


def input_gradient(geometry: Geometry, g: jax.Array, w: jax.Array) -> jax.Array:
    """A sum for each stride phase of the input, which XLA writes to where it belongs in the same kernel."""
    return lax.optimization_barrier(shifted_sums.input_gradient(geometry, lax.optimization_barrier(g), w))


def filter_gradient(geometry: Geometry, x: jax.Array, g: jax.Array) -> jax.Array:
    """One reduction over all pixels of `[N, H', W', k * k, C]`, the shifted images side by side.

    That array is never in memory: XLA reads `x` where the reduction wants an element of it. A reduction for every tap
    would be k * k kernels that read both operands; one with k * k results does not fit the memory of a multiprocessor.
    """
    rows, cols = geometry.rows, geometry.cols
    x, g = lax.optimization_barrier((x, g))
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    pads = [(axis.low, axis.reach - axis.low - axis.size, 0) for axis in (rows, cols)]  # negative ones crop
    padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    shifted = []
    for top in range(rows.kernel):
        band = lax.slice_in_dim(padded, top, top + rows.stride * (rows.output - 1) + 1, rows.stride, axis=1)
        for left in range(cols.kernel):
            end = left + cols.stride * (cols.output - 1) + 1
            shifted.append(lax.slice_in_dim(band, left, end, cols.stride, axis=2))
    g = shifted_sums.without_margins(geometry, g)[:, :, :, None]
    products = jnp.stack(shifted, axis=3).astype(dtype) * g.astype(dtype)
    return products.sum((0, 1, 2)).reshape(rows.kernel, cols.kernel, 1, x.shape[3]).astype(x.dtype)
