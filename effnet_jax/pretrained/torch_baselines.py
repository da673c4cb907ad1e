"""Names of the layers of ResNets and DenseNets in torchvision, which timm kept."""

import re

from effnet_jax.architecture.baselines import Baseline, Layer
from effnet_jax.architecture.description import Architecture
from effnet_jax.pretrained.sources import Tensors
from effnet_jax.pretrained.variables import CLASSIFIER

_RESNET_STEM = {"stem/conv": "conv1", "stem/bn": "bn1"}
_DENSENET_ENDS = {
    "stem/conv": "features.conv0",
    "stem/bn": "features.norm0",
    "head_norm/bn": "features.norm5",
}
_BOTTLENECK = {
    "reduce_conv": "conv1",
    "reduce_bn": "bn1",
    "spatial_conv": "conv2",
    "spatial_bn": "bn2",
    "expand_conv": "conv3",
    "expand_bn": "bn3",
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
}
_DENSE_LAYER = {"reduce_bn": "norm1", "reduce_conv": "conv1", "spatial_bn": "norm2", "spatial_conv": "conv2"}
_TRANSITION = {"bn": "norm", "conv": "conv"}
# Files from before 2018 (the published DenseNet weights among them) have "denselayer1.norm.1.weight".
_OLD_NAME = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")


def layers(arch: Baseline) -> dict[str, str]:
    """Maps our layers to theirs."""
    is_resnet = bool(arch.residual_ends)
    named = {**_RESNET_STEM, CLASSIFIER: "fc"} if is_resnet else {**_DENSENET_ENDS, CLASSIFIER: "classifier"}
    for layer in arch.layers:
        for ours, theirs in _inside(layer).items():
            named[f"{layer.name}/{ours}"] = f"{_their_block(layer)}.{theirs}"
    return named


def renamed(tensors: Tensors, arch: Architecture) -> Tensors:
    """Returns `tensors` with today's names for the ones that DenseNets had before."""
    del arch
    today = {name: _OLD_NAME.sub(r"\1\2", name) for name in tensors}
    # Where a file holds both, the old one is left for the importer to refuse.
    return {name if new in tensors else new: tensors[name] for name, new in today.items()}


def _inside(layer: Layer) -> dict[str, str]:
    kinds = {"Bottleneck": _BOTTLENECK, "DenseLayer": _DENSE_LAYER, "Transition": _TRANSITION}
    return kinds.get(layer.operator, {})


def _their_block(layer: Layer) -> str:
    stage, _, block = layer.name.removeprefix("stage").partition("_block")
    if layer.operator == "Bottleneck":
        return f"layer{stage}.{int(block) - 1}"
    if layer.operator == "DenseLayer":
        return f"features.denseblock{stage}.denselayer{block}"
    return f"features.{layer.name}"
