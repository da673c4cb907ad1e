"""EfficientNet-PyTorch (lukemelas): the authors' weights, ported with TensorFlow's padding and epsilon."""

from effnet_jax.architecture import scaling
from effnet_jax.pretrained.sources import TORCH, TORCH_IGNORED, Source, authors_settings
from effnet_jax.pretrained.variables import CLASSIFIER

_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "se/reduce": "_se_reduce",
    "se/expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}


def layers(arch: scaling.Architecture) -> dict[str, str]:
    """Maps our layers to EfficientNet-PyTorch's; blocks are numbered through the network."""
    named = {
        "stem/conv": "_conv_stem",
        "stem/bn": "_bn0",
        "head_conv/conv": "_conv_head",
        "head_conv/bn": "_bn1",
        CLASSIFIER: "_fc",
    }
    for number, block in enumerate(arch.blocks):
        named |= {f"{block.name}/{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in _BLOCK.items()}
    return named


SOURCE = Source("lukemelas", TORCH, authors_settings, layers, ignored=TORCH_IGNORED)
