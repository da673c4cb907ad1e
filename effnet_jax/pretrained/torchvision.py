"""torchvision: `torchvision.models.efficientnet_b0` ... `efficientnet_b7` and the baselines."""

from effnet_jax.architecture import baselines
from effnet_jax.architecture.description import Architecture
from effnet_jax.errors import UserError
from effnet_jax.pretrained import torch_baselines
from effnet_jax.pretrained.sources import (
    TF_BN_EPSILON,
    TORCH,
    TORCH_BN_EPSILON,
    TORCH_IGNORED,
    Settings,
    Source,
    family_name,
)
from effnet_jax.pretrained.variables import CLASSIFIER, with_block_indices

# Crop, and resized shorter side, of the published weights (IMAGENET1K_V1).
_EVALUATION = {
    "efficientnet_b0": (224, 256),
    "efficientnet_b1": (240, 256),
    "efficientnet_b2": (288, 288),
    "efficientnet_b3": (300, 320),
    "efficientnet_b4": (380, 384),
    "efficientnet_b5": (456, 456),
    "efficientnet_b6": (528, 528),
    "efficientnet_b7": (600, 600),
    **dict.fromkeys(baselines.NAMES, (224, 256)),
}
_EPSILON_OF_TF = (
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
)  # these were ported from TensorFlow


def settings(name: str) -> Settings:
    """Settings of a torchvision model.

    Raises:
      UserError: torchvision has no such model.
    """
    model = family_name(name)
    if model not in _EVALUATION:
        raise UserError(f"torchvision has no {name!r}; its models are {', '.join(_EVALUATION)}")
    crop, resized = _EVALUATION[model]
    epsilon = TF_BN_EPSILON if model in _EPSILON_OF_TF else TORCH_BN_EPSILON
    return Settings(model, "SYMMETRIC", epsilon, crop, crop / resized)


def layers(arch: Architecture) -> dict[str, str]:
    """Maps our layers to torchvision's, which numbers the layers of an EfficientNet's block in sequence."""
    if isinstance(arch, baselines.Baseline):
        return torch_baselines.layers(arch)
    named = {
        "stem/conv": "features.0.0",
        "stem/bn": "features.0.1",
        "head_conv/conv": "features.8.0",
        "head_conv/bn": "features.8.1",
        CLASSIFIER: "classifier.1",
    }
    for block, index in with_block_indices(arch):
        theirs = f"features.{block.stage}.{index}.block"
        first = 1 if block.expand_ratio > 1 else 0  # of the depthwise convolution
        inside = {
            "depthwise_conv": f"{first}.0",
            "depthwise_bn": f"{first}.1",
            "se/reduce": f"{first + 1}.fc1",
            "se/expand": f"{first + 1}.fc2",
            "project_conv": f"{first + 2}.0",
            "project_bn": f"{first + 2}.1",
        }
        if block.expand_ratio > 1:
            inside |= {"expand_conv": "0.0", "expand_bn": "0.1"}
        named |= {f"{block.name}/{ours}": f"{theirs}.{name}" for ours, name in inside.items()}
    return named


SOURCE = Source(
    "torchvision",
    TORCH,
    settings,
    layers,
    ignored=TORCH_IGNORED,
    rename=torch_baselines.renamed,
    models=tuple(_EVALUATION),
)
