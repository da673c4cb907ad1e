"""timm: `efficientnet_bX` (PyTorch's padding) and `tf_efficientnet_bX` (TensorFlow's), same tensor names.

Its ResNets and DenseNets have the names of torchvision's.
"""

import dataclasses
import re

from effnet_jax.architecture import baselines, scaling
from effnet_jax.architecture.description import Architecture
from effnet_jax.errors import UserError
from effnet_jax.pretrained import torch_baselines
from effnet_jax.pretrained.sources import (
    INCEPTION_MEAN,
    INCEPTION_STD,
    TORCH,
    TORCH_BN_EPSILON,
    TORCH_IGNORED,
    Settings,
    Source,
    authors_settings,
)
from effnet_jax.pretrained.variables import CLASSIFIER, with_block_indices

TF_PREFIX = "tf_"
# A model's name may go on with the tag of its weights: "tf_efficientnet_b4.ap_in1k", "tf_efficientnet_b4_ns".
_NAME = re.compile(r"(?P<tf>tf_)?(?P<model>efficientnet_[a-z0-9]+)(?:[._](?P<tag>.+))?")
_BASELINE_NAME = re.compile(rf"(?P<model>{'|'.join(baselines.NAMES)})(?:\.(?P<tag>.+))?")
# Trained on images scaled to -1..1: AdvProp, and timm's own "ra4" recipe.
_INCEPTION_TAGS = ("ap", "ra4")
# Test resolution and crop of the weights that timm trained itself (its default_cfgs).
_TIMM_TRAINED = {
    "efficientnet_b0": (224, 0.875),
    "efficientnet_b1": (256, 1.0),
    "efficientnet_b2": (288, 1.0),
    "efficientnet_b3": (320, 1.0),
    "efficientnet_b4": (384, 1.0),
    "efficientnet_b5": (448, 1.0),
}
# The same of the baselines' weights, by the first part of their tag; without a tag timm takes a1 or tv.
_BASELINES_TRAINED = {"a1": (288, 1.0), "a2": (288, 1.0), "tv": (224, 0.875), "gluon": (224, 0.875)}
_BASELINES_DEFAULT_TAG = {"resnet50": "a1", "resnet152": "a1", "densenet201": "tv"}


def settings(name: str) -> Settings:
    """Settings of a timm model; the tag of its weights decides how it sees an image.

    Raises:
      UserError: we have no model of that name, or do not know the tag.
    """
    if baseline := _BASELINE_NAME.fullmatch(name):
        return _baseline_settings(baseline["model"], baseline["tag"])
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(
            f"unknown timm model {name!r}; use tf_efficientnet_b0, efficientnet_b0 and the like, "
            f"or {', '.join(baselines.NAMES)}"
        )
    found = authors_settings(match["model"])
    if not match["tf"]:
        resolution, crop = _TIMM_TRAINED.get(found.model, (found.resolution, found.crop_fraction))
        found = dataclasses.replace(
            found,
            padding="SYMMETRIC",
            bn_epsilon=TORCH_BN_EPSILON,
            resolution=resolution,
            crop_fraction=crop,
        )
    if (match["tag"] or "").split("_")[0] in _INCEPTION_TAGS:
        found = dataclasses.replace(found, mean=INCEPTION_MEAN, std=INCEPTION_STD)
    return found


def _baseline_settings(model: str, tag: str | None) -> Settings:
    recipe = (tag or _BASELINES_DEFAULT_TAG[model]).split("_")[0]
    if recipe not in _BASELINES_TRAINED:
        raise UserError(
            f"how timm evaluates {model}.{tag} is not known here; leave the tag out and give --resolution and "
            "--crop_fraction"
        )
    return Settings(model, "SYMMETRIC", TORCH_BN_EPSILON, *_BASELINES_TRAINED[recipe])


def layers(arch: Architecture) -> dict[str, str]:
    """Maps our layers to timm's; its blocks without expansion are another class with other numbers."""
    if isinstance(arch, baselines.Baseline):
        return torch_baselines.layers(arch)
    named = {
        "stem/conv": "conv_stem",
        "stem/bn": "bn1",
        "head_conv/conv": "conv_head",
        "head_conv/bn": "bn2",
        CLASSIFIER: "classifier",
    }
    for block, index in with_block_indices(arch):
        theirs = f"blocks.{block.stage - 1}.{index}"
        inside = {"se/reduce": "se.conv_reduce", "se/expand": "se.conv_expand", "depthwise_conv": "conv_dw"}
        if block.expand_ratio > 1:
            inside |= {"expand_conv": "conv_pw", "expand_bn": "bn1", "depthwise_bn": "bn2"}
            inside |= {"project_conv": "conv_pwl", "project_bn": "bn3"}
        else:
            inside |= {"depthwise_bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
        named |= {f"{block.name}/{ours}": f"{theirs}.{name}" for ours, name in inside.items()}
    return named


SOURCE = Source(
    "timm",
    TORCH,
    settings,
    layers,
    ignored=TORCH_IGNORED,
    rename=torch_baselines.renamed,
    models=(*scaling.FAMILY, *baselines.NAMES),
)
