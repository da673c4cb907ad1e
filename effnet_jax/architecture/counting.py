"""Counts of a network: parameters, multiply-adds, sizes of maps and receptive fields, layer by layer (no JAX)."""

import dataclasses


def ceil_div(a: int, b: int) -> int:
    """Output size of a convolution of stride `b` on `a` pixels, under SAME and symmetric padding alike."""
    return -(-a // b)


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """Counts of one layer: the stem, a block, the head convolution or the classifier."""

    name: str
    stage: int  # layers of one number stand together, in order: 0 is the stem, the last one the classifier
    operator: str
    kernel_size: int
    stride: int
    output_size: int  # side of the square output map in pixels
    output_filters: int
    parameters: int  # trainable
    batch_stats: int  # moving means and variances
    macs: int  # multiply-adds per image
    receptive_field: int  # side in input pixels, squeeze-and-excitation (global) aside
    activations: int  # values per image that a training step's convolutions produce


@dataclasses.dataclass(frozen=True)
class Counts:
    """Per-layer counts and their totals; MACs are multiply-adds for one image (FLOPs are twice that)."""

    layers: tuple[LayerCount, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def batch_stats(self) -> int:
        return sum(layer.batch_stats for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def activations(self) -> int:
        return sum(layer.activations for layer in self.layers)


class Counter:
    """Walks through a network from its input on and counts what it passes; `end_layer` closes a layer.

    BatchNorms count parameters and statistics but no multiply-adds, as in the paper's Table 2; neither do activation
    functions and pooling.
    """

    def __init__(self, resolution: int):
        """Starts at a square image of `resolution` pixels."""
        self._size, self._receptive_field = resolution, 1
        self._jump = 1  # input pixels from one pixel of the map to the next
        self._layers: list[LayerCount] = []
        self._begin_layer()

    def conv(self, kernel_size: int, inputs: int, outputs: int, stride: int = 1, *, shortcut: bool = False) -> None:
        """Passes a convolution without a bias.

        Args:
          kernel_size: side of its filters.
          inputs: channels that each of its filters reads: one for a depthwise convolution.
          outputs: its filters.
          stride: its stride.
          shortcut: it stands beside the layer's other convolutions and reads the layer's input.
        """
        size = ceil_div(self._size_before if shortcut else self._size, stride)
        weights = kernel_size**2 * inputs * outputs
        self._parameters += weights
        self._macs += weights * size**2
        self._activations += outputs * size**2
        if not shortcut:
            self._slide(kernel_size, stride, size)
            self._kernel_size = max(self._kernel_size, kernel_size)

    def batch_norm(self, filters: int) -> None:
        """Passes a BatchNorm: scale and bias, moving mean and variance of each of its `filters`."""
        self._parameters += 2 * filters
        self._batch_stats += 2 * filters

    def conv_bn(self, kernel_size: int, inputs: int, outputs: int, stride: int = 1) -> None:
        """Passes a convolution and the BatchNorm of its outputs."""
        self.conv(kernel_size, inputs, outputs, stride)
        self.batch_norm(outputs)

    def dense(self, inputs: int, outputs: int) -> None:
        """Passes a dense layer with a bias, on pooled channels."""
        self._parameters += inputs * outputs + outputs
        self._macs += inputs * outputs

    def pool(self, kernel_size: int, stride: int, *, padded: bool) -> None:
        """Passes pooling, which drops an odd last row and column where it is not padded."""
        self._slide(kernel_size, stride, ceil_div(self._size, stride) if padded else self._size // stride)

    def end_layer(self, name: str, stage: int, operator: str, filters: int) -> None:
        """Closes a layer that gives `filters` channels: all since the last one belongs to it."""
        self._layers.append(
            LayerCount(
                name=name,
                stage=stage,
                operator=operator,
                kernel_size=self._kernel_size,
                stride=self._stride,
                output_size=self._size,
                output_filters=filters,
                parameters=self._parameters,
                batch_stats=self._batch_stats,
                macs=self._macs,
                receptive_field=self._receptive_field,
                activations=self._activations,
            )
        )
        self._begin_layer()

    def finish(self, filters: int, num_classes: int) -> Counts:
        """Passes global pooling of `filters` channels and the classifier, and returns all counts."""
        self._size = 1
        self.dense(filters, num_classes)
        self._activations = filters + num_classes
        self.end_layer("classifier", self._layers[-1].stage + 1, "Pool & Dense", num_classes)
        return Counts(tuple(self._layers))

    def _begin_layer(self) -> None:
        self._size_before, self._kernel_size, self._stride = self._size, 1, 1
        self._parameters = self._batch_stats = self._macs = self._activations = 0

    def _slide(self, kernel_size: int, stride: int, size: int) -> None:
        """Passes a window that slides over the map."""
        self._receptive_field += (kernel_size - 1) * self._jump
        self._jump *= stride
        self._stride *= stride
        self._size = size
