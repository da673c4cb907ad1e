"""Exporting a classifier as ONNX, from the same description that the Flax modules are built from.

import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
(probabilities,) = session.run(None, {"images": images})  # any number of images
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax.traverse_util import flatten_dict, unflatten_dict
from onnx import helper

import effnet_jax
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from effnet_jax.export.onnx_graph import FLOAT, UINT8, Graph, Map
from effnet_jax.export.stablehlo import natural_input_size
from effnet_jax.inference.classifier import Classifier
from effnet_jax.models import folding
from effnet_jax.models.densenet import DenseNet
from effnet_jax.models.efficientnet import EfficientNet
from effnet_jax.models.stem import POOL, POOL_STRIDE

OPSET, IR_VERSION = 17, 9  # read by onnxruntime 1.17 and later
_MOST_BYTES = 2**31  # of a file in one piece


def serialize(
    net: Classifier,
    input_size: int | None = None,
    output: str = "probabilities",
    *,
    preprocessing: bool = False,
    fold_batch_norm: bool = True,
) -> bytes:
    """Exports "images" -> float32 [N, classes], N any number.

    Args:
      net: the model.
      input_size: side of the images in pixels; None takes the model's resolution, or with `preprocessing` what needs
        no resizing.
      output: "probabilities" or "logits".
      preprocessing: take uint8 [N, side, side, C] and crop, resize and normalise them; else float32 [N, C, side, side],
        normalised.
      fold_batch_norm: make each BatchNorm part of the convolution before it.

    Raises:
      UserError: an input size that is not positive, a model of more than 2 GiB, or BatchNorms wanted of a `net` that
        has none because it was loaded folded.
    """
    side = default_side(net, preprocessing) if input_size is None else input_size
    if side < 1:
        raise UserError(f"the input size must be positive, got {side}")
    variables = jax.tree.map(np.asarray, net.variables)
    if sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) >= _MOST_BYTES:
        raise UserError("an ONNX file in one piece holds less than 2 GiB; export this model as StableHLO")
    if fold_batch_norm:
        variables = folding.fold(net.model, variables)
    elif folding.is_folded(variables):
        raise UserError("this network's BatchNorms are folded already: load it with effnet_jax.load(..., fold=False)")
    numerics = net.model.numerics
    graph = Graph(numerics.padding, numerics.bn_epsilon)
    channels = net.preprocess.channels
    x = Map("images", side)
    if preprocessing:
        x = _preprocessed(graph, net, side)
    logits = _network(graph, net.model, variables, x)
    if output == "probabilities":
        logits = graph.node("Softmax", logits, axis=1)
    shape = ["batch", side, side, channels] if preprocessing else ["batch", channels, side, side]
    graph.nodes.append(helper.make_node("Identity", [logits], [output]))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            net.metadata["model"]["name"],
            [helper.make_tensor_value_info("images", UINT8 if preprocessing else FLOAT, shape)],
            [helper.make_tensor_value_info(output, FLOAT, ["batch", len(net.labels)])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="effnet_jax",
        producer_version=effnet_jax.__version__,
    )
    helper.set_model_props(model, {"class_names": json.dumps(list(net.labels))})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def default_side(net: Classifier, preprocessing: bool) -> int:
    """Returns the side of the images that is taken where none is given."""
    return natural_input_size(net) if preprocessing else net.resolution


def _preprocessed(graph: Graph, net: Classifier, side: int) -> Map:
    """The rule of `Preprocess`: central crop, resizing as two matrix products, normalisation."""
    preprocess = net.preprocess
    top, left, kept = preprocess.crop_box(side, side)
    x = graph.node("Cast", "images", to=FLOAT)
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
    if kept != side:
        corners = [graph.constant(np.array(values, np.int64)) for values in ([top, left], [top + kept, left + kept])]
        x = graph.node("Slice", x, *corners, graph.constant(np.array([2, 3], np.int64)))
    if kept != preprocess.resolution:
        shape = (preprocess.resolution, kept)
        rows = np.asarray(jax.image.resize(jnp.eye(kept), shape, preprocess.interpolation, antialias=True))
        x = graph.node("MatMul", graph.constant(rows), graph.node("MatMul", x, graph.constant(rows.T)))
        x = graph.node("Clip", x, graph.constant(np.float32(0)), graph.constant(np.float32(255)))
    std, mean = (np.asarray(values, np.float64)[:, None, None] for values in (preprocess.std, preprocess.mean))
    x = graph.node("Mul", x, graph.constant((1 / (255 * std)).astype(np.float32)))
    return Map(graph.node("Add", x, graph.constant((-mean / std).astype(np.float32))), preprocess.resolution)


def _network(graph: Graph, model: Any, variables: Mapping[str, Any], x: Map) -> str:
    """Adds the whole chain, pooling and the classifier; returns the name of the logits."""
    # Of each layer, its parameters and statistics side by side.
    net = unflatten_dict(flatten_dict(variables["params"]) | flatten_dict(variables["batch_stats"]))
    if isinstance(model, EfficientNet):
        x = _efficientnet(graph, model.architecture, net, x)
    else:
        layers = _dense_layers if isinstance(model, DenseNet) else _bottlenecks
        x = _stem(graph, model.architecture.layers[0], net["stem"], x)
        for layer in model.architecture.layers[1:]:
            x = layers(graph, layer, net[layer.module_name], x)
    pooled = graph.node("GlobalAveragePool", x.name)
    return graph.node("Flatten", graph.dense(pooled, net["classifier"]))


def _conv_bn(graph: Graph, arrays: Any, x: Map, conv: str, norm: str, stride: int, groups: int = 1) -> Map:
    return graph.conv(x, arrays[conv]["kernel"], stride, groups, arrays[norm])


def _efficientnet(graph: Graph, arch: scaling.Architecture, net: Any, x: Map) -> Map:
    x = graph.swish(_conv_bn(graph, net["stem"], x, "conv", "bn", arch.stem_stride))
    for block in arch.blocks:
        x = _mbconv(graph, block, net[block.name], x)
    return graph.swish(_conv_bn(graph, net["head_conv"], x, "conv", "bn", 1))


def _mbconv(graph: Graph, block: scaling.Block, arrays: Any, inputs: Map) -> Map:
    x = inputs
    if block.expand_ratio > 1:
        x = graph.swish(_conv_bn(graph, arrays, x, "expand_conv", "expand_bn", 1))
    channels = arrays["depthwise_conv"]["kernel"].shape[-1]
    x = _conv_bn(graph, arrays, x, "depthwise_conv", "depthwise_bn", block.stride, channels)
    x = graph.swish(x)
    gates = graph.swish(Map(graph.dense(graph.node("GlobalAveragePool", x.name), arrays["se"]["reduce"]), 1))
    gates = graph.node("Sigmoid", graph.dense(gates.name, arrays["se"]["expand"]))
    x = Map(graph.node("Mul", x.name, gates), x.side)
    x = _conv_bn(graph, arrays, x, "project_conv", "project_bn", 1)
    return Map(graph.node("Add", inputs.name, x.name), x.side) if block.residual else x


def _stem(graph: Graph, layer: Any, arrays: Any, x: Map) -> Map:
    (conv,) = layer.convolutions
    x = graph.relu(_conv_bn(graph, arrays, x, conv.conv_name, conv.norm_name, conv.stride))
    return graph.max_pool(x, POOL, POOL_STRIDE) if layer.pool else x


def _bottlenecks(graph: Graph, layer: Any, arrays: Any, inputs: Map) -> Map:
    """A block of a ResNet."""
    x, shortcut = inputs, inputs
    for conv in layer.convolutions:
        made = _conv_bn(graph, arrays, inputs if conv.shortcut else x, conv.conv_name, conv.norm_name, conv.stride)
        if conv.shortcut:
            shortcut = made
        else:
            x = made if conv.name == "expand" else graph.relu(made)
    return graph.relu(Map(graph.node("Add", x.name, shortcut.name), x.side))


def _dense_layers(graph: Graph, layer: Any, arrays: Any, inputs: Map) -> Map:
    """A layer, a transition or the last BatchNorm of a DenseNet: BatchNorm, ReLU, convolution.

    A BatchNorm has a convolution before it where it is not the first of its layer.
    """
    norms = [arrays[name] for name in [conv.norm_name for conv in layer.convolutions] or ["bn"]]
    x = graph.relu(graph.batch_norm(inputs, norms[0]))
    for conv, norm in zip(layer.convolutions, [*norms[1:], None]):
        x = graph.conv(x, arrays[conv.conv_name]["kernel"], conv.stride, norm=norm)
        x = graph.relu(x) if norm else x
    if layer.pool:
        return graph.average_pool(x)
    if not layer.convolutions:
        return x
    return Map(graph.node("Concat", inputs.name, x.name, axis=1), x.side)
