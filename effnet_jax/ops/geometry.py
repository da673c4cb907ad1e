"""What is static about a convolution: sizes, padding, and which inputs meet which outputs. Imports no JAX."""

import dataclasses
from collections.abc import Sequence

Padding = str | Sequence[Sequence[int]]
# Which (index in the kernel, offset in the source) pairs one axis of a shifted sum runs over.
Taps = list[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: all that is static about it."""

    size: int
    kernel: int
    stride: int
    low: int
    high: int
    # How much of either end of the input is known to be zero.
    zeros: tuple[int, int] = (0, 0)
    # Zeros around a gradient at the outputs, which its array has on either side.
    margins: tuple[int, int] = (0, 0)

    @property
    def output(self) -> int:
        return (self.size + self.low + self.high - self.kernel) // self.stride + 1

    @property
    def reach(self) -> int:
        """Number of inputs, padding included, that the outputs together read."""
        return self.stride * (self.output - 1) + self.kernel

    def without_padding(self) -> "Axis":
        """The same axis of an input that was padded, or cropped, to `reach`."""
        return dataclasses.replace(
            self, size=self.reach, low=0, high=0, zeros=(self.low, max(self.reach - self.low - self.size, 0))
        )

    def with_margins(self) -> "Axis":
        """The same axis, the gradient at its outputs in so many zeros that an input gradient reads no further."""
        offsets = [offset for phase in range(self.stride) for _, offset in self.backward_taps(phase)] or [0]
        beyond = max(offsets) + self.inputs_per_phase - self.output
        return dataclasses.replace(self, margins=(max(-min(offsets), 0), max(beyond, 0)))

    def forward_taps(self) -> Taps:
        """Output `i` reads input `stride * i + offset`; taps that only ever meet zeros are left out."""
        first, end = self._nonzero()
        taps = ((p, p - self.low) for p in range(self.kernel))
        return [(p, o) for p, o in taps if o < end and o + self.stride * (self.output - 1) >= first]

    def spans(self) -> list[tuple[int, int, int, int]]:
        """Per tap `(index, first output, number of outputs, first input)` of what meets no zeros."""
        spans, (low, end) = [], self._nonzero()
        for p, offset in self.forward_taps():
            first = max(0, -((offset - low) // self.stride))
            last = min(self.output, (end - 1 - offset) // self.stride + 1)
            if last > first:
                spans.append((p, first, last - first, first * self.stride + offset))
        return spans

    def _nonzero(self) -> tuple[int, int]:
        return self.zeros[0], self.size - self.zeros[1]

    def trimmed(self) -> tuple["Axis", slice]:
        """The same axis without taps at either end of the kernel that only meet padding, and which are left."""
        left = [p for p, _ in self.forward_taps()] or [0]
        first, end = left[0], left[-1] + 1
        low, high = self.low - first, self.high - (self.kernel - end)
        return dataclasses.replace(self, kernel=end - first, low=low, high=high), slice(first, end)

    @property
    def inputs_per_phase(self) -> int:
        """Number of inputs that are `stride` apart from each other."""
        return -(-self.size // self.stride)

    def backward_taps(self, phase: int) -> Taps:
        """Input `stride * m + phase` receives from output `m + offset`."""
        taps = ((p, *divmod(phase + self.low - p, self.stride)) for p in range(self.kernel))
        count = len(range(phase, self.size, self.stride))
        return [(p, o) for p, o, rest in taps if rest == 0 and o < self.output and o + count > 0]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The static half of a convolution."""

    rows: Axis
    cols: Axis

    def trimmed(self) -> tuple["Geometry", tuple[slice, slice]]:
        """The same convolution by the part of the kernel that meets the image, and which part that is.

        A 5 x 5 kernel on a 2 x 2 map is one of 3 x 3: less to pad, to read and to add.
        """
        (rows, row_slice), (cols, col_slice) = self.rows.trimmed(), self.cols.trimmed()
        return Geometry(rows, cols), (row_slice, col_slice)

    def without_padding(self) -> "Geometry":
        """The same convolution of an input that `shifted_sums.pad` has padded."""
        return Geometry(*(axis.without_padding() for axis in (self.rows, self.cols)))

    def with_margins(self) -> "Geometry":
        """The same convolution with a gradient that `shifted_sums.add_margins` has padded."""
        return Geometry(*(axis.with_margins() for axis in (self.rows, self.cols)))


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


def geometry_of(x_shape: Sequence[int], kernel_shape: Sequence[int], stride: int, padding: Padding) -> Geometry:
    """Returns the geometry of a convolution from the shapes of its input and kernel.

    Raises:
        ValueError: an unknown padding, or an empty output.
    """
    pads = explicit_padding(x_shape[1:3], kernel_shape[:2], stride, padding)
    axes = [Axis(size, k, stride, *pad) for size, k, pad in zip(x_shape[1:3], kernel_shape[:2], pads, strict=True)]
    if min(axis.output for axis in axes) < 1:
        raise ValueError(f"a {kernel_shape[:2]} kernel with padding {pads} leaves nothing of {x_shape}")
    return Geometry(*axes)
