"""What all classifiers share: a chain of named layers that can be cut anywhere."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.architecture import HEAD
from effnet_jax.errors import UserError
from effnet_jax.models.layers import Numerics, dense_init

Link = tuple[str, Callable[[jax.Array, bool], jax.Array]]  # name, (map [N, h, w, C], train) -> map


class ChainClassifier(nn.Module):
    """A chain of named layers ("stem", "stage1_block1", ...), then pooling and a classifier.

    `features` runs the chain up to a layer and `head` runs the rest, so that
    `head(features(x, layer=l), layer=l) == model(x)` for every layer. A subclass has an `architecture` (the
    plain-Python description it is built from), the fields `numerics` and `allow_1x1_map`, and a `_chain` of as
    many modules as there are `layer_names`; it sets `dropout` and `classifier` in `setup`.

    Attributes:
      num_classes: width of the classifier.
    """

    num_classes: int

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the feature maps in order; "head" stands for the last one."""
        return self.architecture.layer_names

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

    def features(self, images: jax.Array, train: bool = False, layer: str = HEAD) -> jax.Array:
        """Returns the feature map [N, h, w, C] at `layer`; "head" is the one after the last activation."""
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

    def head(self, fmap: jax.Array, train: bool = False, layer: str = HEAD) -> jax.Array:
        """Maps a feature map of `layer` to logits [N, num_classes] through the rest of the network."""
        arch = self.architecture
        start = arch.layer_names.index(arch.resolve_layer(layer)) + 1
        x = fmap
        for _, module in self._chain()[start:]:
            x = module(x, train)
        pooled = jnp.mean(x, axis=(1, 2), dtype=self.numerics.param_dtype)
        return self.classifier(self.dropout(pooled, deterministic=not train))

    def scopes(self) -> dict[str, str]:
        """Returns for each layer, in order, the name under which its variables stand.

        `model.apply({}, method="scopes")`: it needs no variables.
        """
        return {layer: module.name for layer, module in self._chain()}

    def _chain(self) -> list[Link]:
        raise NotImplementedError

    def _check_final_map(self, shape: tuple[int, ...]) -> None:
        pixels = [self.architecture.final_map(side) for side in shape[1:3]]
        if 0 in pixels:
            raise UserError(f"a {shape[1]}x{shape[2]} input is too small for this model; use a larger resolution")
        if pixels == [1, 1] and not self.allow_1x1_map:
            raise UserError(
                f"a {shape[1]}x{shape[2]} input leaves a 1x1 head map, which trains badly: use smaller "
                "stem_stride/stage_strides or a larger resolution, or set allow_1x1_map=True"
            )


def classifier(num_classes: int, numerics: Numerics) -> nn.Dense:
    """Returns the dense layer behind the pooled head map; its logits are not in half precision."""
    dtype = numerics.param_dtype
    return nn.Dense(num_classes, dtype=dtype, param_dtype=dtype, kernel_init=dense_init)
