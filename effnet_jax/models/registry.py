"""Models by name."""

from collections.abc import Sequence
from typing import Any

from effnet_jax.architecture import baselines, catalog, scaling
from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.errors import UserError
from effnet_jax.models.chain import ChainClassifier
from effnet_jax.models.densenet import DenseNet
from effnet_jax.models.efficientnet import EfficientNet
from effnet_jax.models.layers import BN_GROUPS, GLOBAL, OPERATIONS, Numerics, Padding
from effnet_jax.models.resnet import ResNet


def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    stem_stride: int = scaling.B0_STEM_STRIDE,
    stage_strides: Sequence[int] | None = None,
    dropout_rate: float | None = None,
    stochastic_depth_rate: float | None = None,
    dtype: str = "float32",
    padding: Padding | None = None,
    bn_momentum: float = 0.99,
    bn_epsilon: float | None = None,
    remat: bool = False,
    allow_1x1_map: bool = False,
    in_channels: int = IN_CHANNELS,
    ops: str = "fast",
    bn_group: str = GLOBAL,
) -> ChainClassifier:
    """Builds a model of the family or a baseline.

    Where an option is None the named model's published value is taken.

    Args:
      name: "efficientnet_b0" ... "efficientnet_b7" (also "_b8", "_l2"), "resnet50", "resnet152", "densenet201".
      num_classes: width of the classifier.
      width_multiplier, depth_multiplier: further scaling on top of the named model's own; of a DenseNet the width is
        its growth rate.
      stem_stride: 2 suits 224 px and more, 1 small images; a baseline's stem of stride 1 does no pooling either.
      stage_strides: of EfficientNet's seven stages.
      dropout_rate: before the classifier.
      stochastic_depth_rate: of the last block; not for DenseNets.
      dtype: compute dtype, "float32" or "bfloat16" (or "float64" under `jax_enable_x64`).
      padding: "SAME" (TensorFlow) or "SYMMETRIC" (PyTorch).
      bn_momentum, bn_epsilon: of every BatchNorm.
      remat: recompute blocks in the backward pass to save memory.
      allow_1x1_map: accept inputs that leave a 1x1 head map.
      in_channels: channels of an image: 3 for colour, 1 for grey, more for multispectral images.
      ops: "fast", or "plain" for XLA's own operations alone: slower, equal to rounding, and open to forward-mode
        differentiation and to converters.
      bn_group: "global", or "device" for BatchNorms whose statistics in training are those of one device's images.

    Returns:
      A `flax.linen.Module`; see `ChainClassifier` for its methods.

    Raises:
      UserError: unknown name, impossible multipliers or strides, an option that this kind of model has not, or weights
        that cannot be had or do not fit.
    """
    if ops not in OPERATIONS:
        raise UserError(f"ops is one of {', '.join(OPERATIONS)}, not {ops!r}")
    if bn_group not in BN_GROUPS:
        raise UserError(f"bn_group is one of {', '.join(BN_GROUPS)}, not {bn_group!r}")
    published = catalog.published(name)
    # Impossible options fail here and not at the first call.
    arch = catalog.architecture(name, width_multiplier, depth_multiplier, stem_stride, stage_strides, in_channels)
    stochastic_depth_rate = _given(stochastic_depth_rate, published.stochastic_depth_rate)
    common = {
        "num_classes": num_classes,
        "dropout_rate": _given(dropout_rate, published.dropout_rate),
        "numerics": Numerics(
            dtype,
            _given(padding, published.padding),
            bn_momentum,
            _given(bn_epsilon, published.bn_epsilon),
            ops,
            bn_group,
        ),
        "remat": remat,
        "allow_1x1_map": allow_1x1_map,
    }
    if name in scaling.FAMILY:
        variant = scaling.FAMILY[name]
        model = EfficientNet(
            width_multiplier=variant.width_multiplier * width_multiplier,
            depth_multiplier=variant.depth_multiplier * depth_multiplier,
            stem_stride=stem_stride,
            stage_strides=tuple(_given(stage_strides, scaling.B0_STAGE_STRIDES)),
            stochastic_depth_rate=stochastic_depth_rate,
            in_channels=in_channels,
            **common,
        )
    elif name in baselines.RESNET_BLOCKS:
        model = ResNet(architecture=arch, stochastic_depth_rate=stochastic_depth_rate, **common)
    else:
        catalog.refuse_options(name, ["stochastic_depth_rate"] if stochastic_depth_rate else [])
        model = DenseNet(architecture=arch, **common)
    return model


def _given(option: Any, default: Any) -> Any:
    return default if option is None else option
