"""Models by name."""

from collections.abc import Sequence

from effnet_jax import scaling
from effnet_jax.models.efficientnet import EfficientNet
from effnet_jax.models.layers import Numerics, Padding


def create_model(
    name: str,
    num_classes: int = 1000,
    *,
    width_multiplier: float = 1.0,
    depth_multiplier: float = 1.0,
    stem_stride: int = scaling.B0_STEM_STRIDE,
    stage_strides: Sequence[int] = scaling.B0_STAGE_STRIDES,
    dropout_rate: float | None = None,
    stochastic_depth_rate: float = 0.2,
    dtype: str = "float32",
    padding: Padding = "SAME",
    bn_momentum: float = 0.99,
    bn_epsilon: float = 1e-3,
    remat: bool = False,
    allow_1x1_map: bool = False,
) -> EfficientNet:
    """Builds a model of the family.

    Args:
      name: "efficientnet_b0" ... "efficientnet_b7" (also "_b8", "_l2").
      num_classes: width of the classifier.
      width_multiplier, depth_multiplier: further scaling on top of the named model's own.
      stem_stride, stage_strides: strides; the published ones suit 224 px and more.
      dropout_rate: before the classifier; None takes the named model's published rate.
      stochastic_depth_rate: of the last block.
      dtype: compute dtype, "float32" or "bfloat16" (or "float64" under `jax_enable_x64`).
      padding: "SAME" (TensorFlow) or "SYMMETRIC" (PyTorch).
      bn_momentum, bn_epsilon: of every BatchNorm.
      remat: recompute blocks in the backward pass to save memory.
      allow_1x1_map: accept inputs that leave a 1x1 head map.

    Returns:
      A `flax.linen.Module`; see `EfficientNet` for its methods.

    Raises:
      UserError: unknown name, or impossible multipliers or strides.
    """
    published = scaling.variant(name)
    model = EfficientNet(
        num_classes=num_classes,
        width_multiplier=published.width_multiplier * width_multiplier,
        depth_multiplier=published.depth_multiplier * depth_multiplier,
        stem_stride=stem_stride,
        stage_strides=tuple(stage_strides),
        dropout_rate=published.dropout_rate if dropout_rate is None else dropout_rate,
        stochastic_depth_rate=stochastic_depth_rate,
        numerics=Numerics(dtype, padding, bn_momentum, bn_epsilon),
        remat=remat,
        allow_1x1_map=allow_1x1_map,
    )
    _ = model.architecture  # impossible scalings fail here and not at the first call
    return model
