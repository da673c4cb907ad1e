"""Keras applications: `keras.applications.EfficientNetB0` ... `EfficientNetB7`.

Keras normalises inside the model, so its constants come with the weights; see `normalization`.
"""

import re

import numpy as np

from effnet_jax.architecture import scaling
from effnet_jax.pretrained.sources import IMAGENET_STD, KERAS, Channels, Source, Tensors, authors_settings
from effnet_jax.pretrained.variables import CLASSIFIER, with_block_indices

_BLOCK = {
    "expand_conv": "expand_conv",
    "expand_bn": "expand_bn",
    "depthwise_conv": "dwconv",
    "depthwise_bn": "bn",
    "se/reduce": "se_reduce",
    "se/expand": "se_expand",
    "project_conv": "project_conv",
    "project_bn": "project_bn",
}
_EXPANSION = ("expand_conv", "expand_bn")


def layers(arch: scaling.Architecture) -> dict[str, str]:
    """Maps our layers to Keras's."""
    named = {
        "stem/conv": "stem_conv",
        "stem/bn": "stem_bn",
        "head_conv/conv": "top_conv",
        "head_conv/bn": "top_bn",
        CLASSIFIER: "predictions",
    }
    for block, index in with_block_indices(arch):
        theirs = f"block{block.stage}{chr(ord('a') + index)}_"
        inside = {ours: name for ours, name in _BLOCK.items() if block.expand_ratio > 1 or ours not in _EXPANSION}
        named |= {f"{block.name}/{ours}": theirs + name for ours, name in inside.items()}
    return named


def by_class(arch: scaling.Architecture) -> dict[str, str]:
    """Maps "batch_normalization_3" and the like to layer names.

    Files of Keras 3 count the layers of a class in the order of the model; early ones hold no names.
    """
    counts: dict[str, int] = {}
    named = {}
    for ours, theirs in _in_model_order(arch):
        if ours == CLASSIFIER:
            kind = "dense"
        elif ours.endswith("bn"):
            kind = "batch_normalization"
        else:
            kind = "depthwise_conv2d" if ours.endswith("depthwise_conv") else "conv2d"
        index = counts.get(kind, 0)
        counts[kind] = index + 1
        named[f"{kind}_{index}" if index else kind] = theirs
    return named


def _in_model_order(arch: scaling.Architecture) -> list[tuple[str, str]]:
    named = layers(arch)
    order = ["stem/conv", "stem/bn"]
    for block in arch.blocks:
        order += [f"{block.name}/{layer}" for layer in _BLOCK]
    return [(layer, named[layer]) for layer in [*order, "head_conv/conv", "head_conv/bn", CLASSIFIER] if layer in named]


def named_layers(tensors: Tensors, arch: scaling.Architecture) -> Tensors:
    """Returns `tensors` with layer names for the numbers of classes, where the file has only those."""
    if "stem_conv/kernel" in tensors:
        return tensors
    names = by_class(arch)
    split = {name: re.fullmatch(r"(.*)/([^/]+)", name) for name in tensors}
    return {
        f"{names.get(match[1], match[1])}/{match[2]}" if match else name: tensors[name] for name, match in split.items()
    }


def normalization(tensors: Tensors) -> tuple[Channels, Channels] | None:
    """Returns mean and std, as fractions of 255, of the model's own normalisation; None if it has none.

    The layer computes (x / 255 - mean) / sqrt(variance). The published weights hold the *standard
    deviations* where the variances belong, and the model of `weights="imagenet"` then divides by the root
    of the standard deviation once more, so that in the end the image is divided by the standard deviation.
    """
    if "normalization/mean" not in tensors:
        return None
    mean = np.ravel(tensors["normalization/mean"]).astype(np.float64)
    variance = np.ravel(tensors["normalization/variance"]).astype(np.float64)
    published = np.allclose(variance, IMAGENET_STD, atol=1e-3)
    std = variance if published else np.sqrt(variance)
    return tuple(mean.tolist()), tuple(std.tolist())


SOURCE = Source(
    "keras",
    KERAS,
    authors_settings,
    layers,
    ignored=r"^normalization(_\d+)?/",
    rename=named_layers,
    normalization=normalization,
)
