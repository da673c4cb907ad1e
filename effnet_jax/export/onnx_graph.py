"""An ONNX graph that grows layer by layer. The only module that knows the onnx package, with `onnx_file`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from effnet_jax.models.layers import FACTOR, SHIFT
from effnet_jax.ops.geometry import Padding, explicit_padding

Arrays = Mapping[str, Any]  # of a layer, as Flax names them


@dataclasses.dataclass(frozen=True)
class Map:
    """A feature map [N, C, side, side] of the graph, by its name there."""

    name: str
    side: int


class Graph:
    """Nodes in order, and their constants.

    Attributes:
      nodes: what has been added.
      constants: the arrays that nodes read.
    """

    def __init__(self, padding: Padding, epsilon: float):
        """Begins with nothing.

        Args:
          padding: of convolutions and pooling.
          epsilon: of every BatchNorm.
        """
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._padding, self._epsilon = padding, epsilon

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns that output's name."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Adds an array and returns its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def conv(self, x: Map, kernel: np.ndarray, stride: int, groups: int = 1, norm: Arrays | None = None) -> Map:
        """Adds a convolution and, where there is one, the BatchNorm behind it.

        Args:
          x: what goes in.
          kernel: [k, k, Cin / groups, Cout].
          stride: along both axes.
          groups: Cin for a depthwise convolution.
          norm: parameters and statistics of the BatchNorm; or what `folding.fold` has left of it.
        """
        kernel = np.asarray(kernel, np.float32).transpose(3, 2, 0, 1)
        pads = explicit_padding((x.side, x.side), kernel.shape[2:], stride, self._padding)
        (top, bottom), (left, right) = pads
        side = (x.side + top + bottom - kernel.shape[2]) // stride + 1
        folded = norm is not None and SHIFT in norm
        bias = [self.constant(np.asarray(norm[SHIFT], np.float32))] if folded else []
        out = self.node(
            "Conv", x.name, self.constant(kernel), *bias,
            group=groups, kernel_shape=list(kernel.shape[2:]), strides=[stride] * 2, pads=[top, left, bottom, right],
        )  # fmt: skip
        found = Map(out, side)
        return found if norm is None or folded else self.batch_norm(found, norm)

    def batch_norm(self, x: Map, norm: Arrays) -> Map:
        """Adds a BatchNorm with its moving statistics; or the two operations that `folding.fold` has left of it."""
        if SHIFT in norm:
            factor, shift = (
                self.constant(np.asarray(norm[name], np.float32)[:, None, None]) for name in (FACTOR, SHIFT)
            )
            return Map(self.node("Add", self.node("Mul", x.name, factor), shift), x.side)
        names = [self.constant(np.asarray(norm[name], np.float32)) for name in ("scale", "bias", "mean", "var")]
        return Map(self.node("BatchNormalization", x.name, *names, epsilon=self._epsilon), x.side)

    def dense(self, x: str, layer: Arrays) -> str:
        """Adds a dense layer to a map of one pixel, [N, C, 1, 1], or to a vector's map."""
        kernel = np.asarray(layer["kernel"], np.float32).T[:, :, None, None]
        return self.node("Conv", x, self.constant(kernel), self.constant(np.asarray(layer["bias"], np.float32)))

    def swish(self, x: Map) -> Map:
        """Adds x * sigmoid(x)."""
        return Map(self.node("Mul", x.name, self.node("Sigmoid", x.name)), x.side)

    def relu(self, x: Map) -> Map:
        """Adds max(x, 0)."""
        return Map(self.node("Relu", x.name), x.side)

    def max_pool(self, x: Map, kernel_size: int, stride: int) -> Map:
        """Adds maxima of squares."""
        (top, bottom), (left, right) = explicit_padding(
            (x.side, x.side), (kernel_size, kernel_size), stride, self._padding
        )
        side = (x.side + top + bottom - kernel_size) // stride + 1
        name = self.node(
            "MaxPool", x.name, kernel_shape=[kernel_size] * 2, strides=[stride] * 2, pads=[top, left, bottom, right]
        )
        return Map(name, side)

    def average_pool(self, x: Map) -> Map:
        """Adds means of 2x2 pixels; an odd last row is dropped."""
        return Map(self.node("AveragePool", x.name, kernel_shape=[2, 2], strides=[2, 2]), x.side // 2)


FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
