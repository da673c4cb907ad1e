"""The variables of a model by path and shape, in pure Python.

The paths are those of the Flax module, joined by slashes: "params/stage2_block1/se/reduce/kernel",
"batch_stats/stem/bn/mean". A layer is such a path without its collection and its leaf.
"""

import dataclasses

from effnet_jax.architecture import scaling
from effnet_jax.architecture.baselines import Baseline
from effnet_jax.architecture.description import Architecture

CLASSIFIER = "classifier"

BN_LEAVES = (("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var"))


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a model.

    Attributes:
      collection: "params" or "batch_stats".
      layer: path of its module.
      leaf: "kernel", "bias", "scale", "mean" or "var".
      shape: as in the Flax module.
    """

    collection: str
    layer: str
    leaf: str
    shape: tuple[int, ...]

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.layer}/{self.leaf}"

    @property
    def is_batch_norm(self) -> bool:
        return self.layer.endswith("bn")

    @property
    def is_squeeze_excite(self) -> bool:
        return "/se/" in self.layer

    @property
    def block(self) -> str:
        """Name of its block; of the stem, head and classifier their own first part."""
        return self.layer.split("/")[0]


def variables(arch: Architecture, num_classes: int) -> list[Variable]:
    """Lists every variable of `arch`, in the order of the forward pass."""
    inside = _of_baseline(arch) if isinstance(arch, Baseline) else _of_efficientnet(arch)
    return [*inside, *_kernel(CLASSIFIER, arch.head_filters, num_classes, bias=True)]


def _of_baseline(arch: Baseline) -> list[Variable]:
    listed: list[Variable] = []
    for layer in arch.layers:
        for conv in layer.convolutions:
            k = conv.kernel_size
            listed += _kernel(f"{layer.module_name}/{conv.conv_name}", k, k, conv.in_filters, conv.out_filters)
            listed += _batch_norm(f"{layer.module_name}/{conv.norm_name}", conv.norm_filters)
        if layer.own_norm_filters:
            listed += _batch_norm(f"{layer.module_name}/bn", layer.own_norm_filters)
    return listed


def _of_efficientnet(arch: scaling.Architecture) -> list[Variable]:
    listed: list[Variable] = []

    def kernel(layer: str, *shape: int, bias: bool = False) -> None:
        listed.extend(_kernel(layer, *shape, bias=bias))

    def batch_norm(layer: str, filters: int) -> None:
        listed.extend(_batch_norm(layer, filters))

    kernel("stem/conv", 3, 3, arch.in_channels, arch.stem_filters)
    batch_norm("stem/bn", arch.stem_filters)
    for block in arch.blocks:
        inputs, wide, k = block.in_filters, block.expanded_filters, block.kernel_size
        if block.expand_ratio > 1:
            kernel(f"{block.name}/expand_conv", 1, 1, inputs, wide)
            batch_norm(f"{block.name}/expand_bn", wide)
        kernel(f"{block.name}/depthwise_conv", k, k, 1, wide)
        batch_norm(f"{block.name}/depthwise_bn", wide)
        kernel(f"{block.name}/se/reduce", wide, block.se_filters, bias=True)
        kernel(f"{block.name}/se/expand", block.se_filters, wide, bias=True)
        kernel(f"{block.name}/project_conv", 1, 1, wide, block.out_filters)
        batch_norm(f"{block.name}/project_bn", block.out_filters)
    kernel("head_conv/conv", 1, 1, arch.blocks[-1].out_filters, arch.head_filters)
    batch_norm("head_conv/bn", arch.head_filters)
    return listed


def _kernel(layer: str, *shape: int, bias: bool = False) -> list[Variable]:
    kernel = Variable("params", layer, "kernel", shape)
    return [kernel, Variable("params", layer, "bias", shape[-1:])] if bias else [kernel]


def _batch_norm(layer: str, filters: int) -> list[Variable]:
    return [Variable(collection, layer, leaf, (filters,)) for collection, leaf in BN_LEAVES]


def with_block_indices(arch: scaling.Architecture) -> list[tuple[scaling.Block, int]]:
    """Pairs every block with its index inside its stage, from 0."""
    pairs = []
    for block in arch.blocks:
        first = not pairs or pairs[-1][0].stage != block.stage
        pairs.append((block, 0 if first else pairs[-1][1] + 1))
    return pairs
