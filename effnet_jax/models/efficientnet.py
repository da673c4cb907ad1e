"""EfficientNet (Tan & Le 2019) at any compound scaling, as a Flax Linen module."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax import scaling
from effnet_jax.errors import UserError
from effnet_jax.models.layers import ConvBNSwish, MBConv, Numerics, dense_init


class EfficientNet(nn.Module):
    """EfficientNet classifier.

    A chain of named layers ("stem", "stage1_block1", ..., "head") followed by pooling and a classifier.
    `features` runs the chain up to a layer and `head` runs the rest, so that
    `head(features(x, layer=l), layer=l) == model(x)` for every layer.

    Attributes:
      num_classes: width of the classifier.
      width_multiplier, depth_multiplier: compound scaling of B0 (paper section 3.3).
      stem_stride, stage_strides: strides; small images want fewer 2s than the published ones.
      dropout_rate: dropout before the classifier.
      stochastic_depth_rate: 1 - survival probability after the last block; grows linearly from 0 at the first.
      numerics: dtype, padding and BatchNorm constants.
      remat: recompute each block in the backward pass, which trades time for memory.
      allow_1x1_map: accept inputs so small that the head map has one pixel.
    """

    num_classes: int
    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    stem_stride: int = scaling.B0_STEM_STRIDE
    stage_strides: Sequence[int] = scaling.B0_STAGE_STRIDES
    dropout_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    numerics: Numerics = Numerics()
    remat: bool = False
    allow_1x1_map: bool = False

    @property
    def architecture(self) -> scaling.Architecture:
        """The scaled block table this module is built from."""
        return scaling.architecture(self.width_multiplier, self.depth_multiplier, self.stem_stride, self.stage_strides)

    def setup(self) -> None:
        arch = self.architecture
        self.stem = ConvBNSwish(arch.stem_filters, 3, arch.stem_stride, self.numerics)
        block_class = nn.remat(MBConv, static_argnums=(2,)) if self.remat else MBConv
        for index, block in enumerate(arch.blocks):
            survival = 1.0 - self.stochastic_depth_rate * index / len(arch.blocks)
            setattr(self, block.name, block_class(block, survival, self.numerics))
        self.head_conv = ConvBNSwish(arch.head_filters, 1, 1, self.numerics)
        self.dropout = nn.Dropout(self.dropout_rate)
        dtype = self.numerics.param_dtype
        self.classifier = nn.Dense(self.num_classes, dtype=dtype, param_dtype=dtype, kernel_init=dense_init)

    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Classifies normalised images.

        Args:
          images: float [N, H, W, 3], normalised.
          train: use batch statistics, dropout and stochastic depth ("dropout" RNG) instead of inference rules.

        Returns:
          Logits, float32 [N, num_classes].

        Raises:
          UserError: the head map would be a single pixel and `allow_1x1_map` is off.
        """
        return self.head(self.features(images, train), train)

    def features(self, images: jax.Array, train: bool = False, layer: str = "head") -> jax.Array:
        """Returns the feature map [N, h, w, C] at `layer`; "head" is the one after the last swish."""
        return self.intermediates(images, (layer,), train)[layer]

    def intermediates(self, images: jax.Array, layers: Sequence[str], train: bool = False) -> dict[str, jax.Array]:
        """Returns the feature maps at several layers from one pass; "stage3" is the end of stage 3.

        Raises:
          UserError: there is no such layer (the message lists them).
        """
        self._check_final_map(images.shape)
        arch = self.architecture
        wanted = {name: arch.resolve_layer(name) for name in layers}
        last = max(arch.layer_names.index(name) for name in wanted.values())
        x, maps = images.astype(self.numerics.compute_dtype), {}
        for name, module in self._chain()[: last + 1]:
            x = module(x, train)
            if name in wanted.values():
                maps[name] = x
        return {name: maps[resolved] for name, resolved in wanted.items()}

    def head(self, fmap: jax.Array, train: bool = False, layer: str = "head") -> jax.Array:
        """Maps a feature map of `layer` to logits [N, num_classes] through the rest of the network."""
        arch = self.architecture
        start = arch.layer_names.index(arch.resolve_layer(layer)) + 1
        x = fmap
        for _, module in self._chain()[start:]:
            x = module(x, train)
        pooled = jnp.mean(x, axis=(1, 2), dtype=self.numerics.param_dtype)
        return self.classifier(self.dropout(pooled, deterministic=not train))

    def _chain(self) -> list[tuple[str, Callable[[jax.Array, bool], jax.Array]]]:
        blocks = [(block.name, getattr(self, block.name)) for block in self.architecture.blocks]
        return [("stem", self.stem), *blocks, ("head", self.head_conv)]

    def _check_final_map(self, shape: tuple[int, ...]) -> None:
        height, width = (self.architecture.final_map(side) for side in shape[1:3])
        if height * width == 1 and not self.allow_1x1_map:
            raise UserError(
                f"a {shape[1]}x{shape[2]} input leaves a 1x1 head map, which trains badly: use smaller "
                "stem_stride/stage_strides or a larger resolution, or set allow_1x1_map=True"
            )
