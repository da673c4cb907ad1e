"""Depthwise convolution by shape: forward, input gradient and filter gradient apart, every formulation."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator

import jax

from effnet_jax.architecture import scaling
from effnet_jax.architecture.counting import ceil_div
from effnet_jax.benchmark.case import Case
from effnet_jax.ops import depthwise
from effnet_jax.ops.geometry import geometry_of

ROUNDS = 5
SECONDS = 0.05  # of one formulation in one round, about
SLOW = 0.25  # seconds above which a formulation is timed once


@dataclasses.dataclass(frozen=True)
class Row:
    """Milliseconds of one direction of one layer.

    Attributes:
      layers: how many blocks of the model have this shape.
      shape: "128x16x16x96 k3 s2": batch, height, width, channels of the input, kernel, stride.
      direction: "forward", "input gradient" or "filter gradient".
      milliseconds: by formulation, as `ops.depthwise.FORMULATIONS` names them; "lax.conv" is cuDNN's on a GPU.
    """

    layers: int
    shape: str
    direction: str
    milliseconds: dict[str, float]


def measure(case: Case) -> list[Row]:
    """Times every distinct depthwise convolution of a model, formulations in turns."""
    rows = []
    for (side, channels, kernel_size, stride), layers in _shapes(case).items():
        shape = (case.batch_size, side, side, channels)
        name = "x".join(map(str, shape)) + f" k{kernel_size} s{stride}"
        for direction, functions, arguments in _directions(shape, kernel_size, stride, case.dtype):
            rows.append(Row(layers, name, direction, _time(functions, arguments)))
    return rows


def _shapes(case: Case) -> dict[tuple[int, int, int, int], int]:
    side = ceil_div(case.resolution, scaling.B0_STEM_STRIDE)
    variant = scaling.variant(case.model)
    shapes: dict[tuple[int, int, int, int], int] = {}
    for block in scaling.architecture(variant.width_multiplier, variant.depth_multiplier).blocks:
        key = (side, block.expanded_filters, block.kernel_size, block.stride)
        shapes[key] = shapes.get(key, 0) + 1
        side = ceil_div(side, block.stride)
    return shapes


def _directions(
    shape: tuple[int, ...], kernel_size: int, stride: int, dtype: str
) -> Iterator[tuple[str, dict[str, Callable], tuple[jax.Array, jax.Array]]]:
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    w = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 1, shape[3]), dtype)
    geometry = geometry_of(shape, w.shape, stride, "SAME")
    g = jax.random.normal(jax.random.key(2), (shape[0], geometry.rows.output, geometry.cols.output, shape[3]), dtype)
    arguments = {"forward": (x, w), "input gradient": (g, w), "filter gradient": (x, g)}
    for direction, formulations in depthwise.FORMULATIONS.items():
        functions = {
            name: jax.jit(lambda a, b, function=function: function(geometry, a, b))
            for name, function in formulations.items()
        }
        yield direction, functions, arguments[direction]


def _time(functions: dict[str, Callable], arguments: tuple[jax.Array, jax.Array]) -> dict[str, float]:
    def seconds(function: Callable, count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            result = function(*arguments)
        jax.block_until_ready(result)
        return (time.perf_counter() - started) / count

    found: dict[str, list[float]] = {}
    for name, function in functions.items():
        seconds(function, 1)  # compiles
        found[name] = [seconds(function, 1)]
    quick = [name for name in functions if found[name][0] < SLOW]
    counts = {name: max(1, int(SECONDS / found[name][0])) for name in quick}
    for _ in range(ROUNDS):
        for name in quick:
            found[name].append(seconds(functions[name], counts[name]))
    # The first measurement counts for those alone that are not measured again.
    return {name: 1e3 * statistics.median(values[1:] or values) for name, values in found.items()}
