"""timm: `efficientnet_bX` (PyTorch's padding) and `tf_efficientnet_bX` (TensorFlow's), same tensor names."""

import dataclasses
import re

from effnet_jax import scaling
from effnet_jax.errors import UserError
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


def settings(name: str) -> Settings:
    """Settings of a timm model; the tag of its weights decides the normalisation.

    Raises:
      UserError: no model of the family has that name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"unknown timm model {name!r}; use tf_efficientnet_b0 or efficientnet_b0 and the like")
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


def layers(arch: scaling.Architecture) -> dict[str, str]:
    """Maps our layers to timm's; its blocks without expansion are another class with other numbers."""
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


SOURCE = Source("timm", TORCH, settings, layers, ignored=TORCH_IGNORED)
