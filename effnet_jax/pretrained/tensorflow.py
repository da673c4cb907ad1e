"""The authors' TensorFlow checkpoints; reading one needs the tensorflow package."""

from effnet_jax.architecture import scaling
from effnet_jax.pretrained.sources import TENSORFLOW, Source, authors_settings
from effnet_jax.pretrained.variables import CLASSIFIER


def layers(arch: scaling.Architecture) -> dict[str, str]:
    """Maps our layers to the authors' variable scopes, which count layers of a kind inside a block."""
    named = {
        "stem/conv": "stem/conv2d",
        "stem/bn": "stem/tpu_batch_normalization",
        "head_conv/conv": "head/conv2d",
        "head_conv/bn": "head/tpu_batch_normalization",
        CLASSIFIER: "head/dense",
    }
    for number, block in enumerate(arch.blocks):
        convs, norms = ["project_conv"], ["depthwise_bn", "project_bn"]
        if block.expand_ratio > 1:
            convs, norms = ["expand_conv", *convs], ["expand_bn", *norms]
        inside = {
            "depthwise_conv": "depthwise_conv2d",
            "se/reduce": "se/conv2d",
            "se/expand": "se/conv2d_1",
            **_counted(convs, "conv2d"),
            **_counted(norms, "tpu_batch_normalization"),
        }
        named |= {f"{block.name}/{ours}": f"blocks_{number}/{theirs}" for ours, theirs in inside.items()}
    return named


def _counted(ours: list[str], scope: str) -> dict[str, str]:
    return {layer: f"{scope}_{index}" if index else scope for index, layer in enumerate(ours)}


SOURCE = Source("tensorflow", TENSORFLOW, authors_settings, layers, ignored=r"^global_step$")
