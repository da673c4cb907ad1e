"""What all classifiers share: a chain of named layers that can be cut anywhere."""

from collections.abc import Callable, Collection, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.architecture.description import HEAD
from effnet_jax.errors import UserError
from effnet_jax.models.layers import Numerics, dense_init
from effnet_jax.process import target

Link = tuple[str, Callable[[jax.Array, bool], jax.Array]]  # name, (map [N, h, w, C], train) -> map

# Inference on a CPU takes early layers, whose maps are at least 1/_EARLY of the image's side, over so many pixels of
# images at a time that their maps stay in a cache of some ten megabytes. Measured at 224 pixels: two images of 16 at a
# time 1.15 times as fast, all layers alike no faster. Half as many pixels are still enough for the matrix products.
_EARLY, _PIXELS_AT_ONCE = 8, 2 * 224 * 224


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
          images: float [N, H, W, 3], normalised; or of as many channels as the model was created with.
          train: use batch statistics, dropout and stochastic depth ("dropout" RNG) instead of inference rules.

        Returns:
          Logits, float32 [N, num_classes].

        Raises:
          UserError: the images have other channels, or the head map would be a single pixel and `allow_1x1_map` is off.
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
        self._check_images(images.shape)
        arch = self.architecture
        wanted = {name: arch.resolve_layer(name) for name in layers}
        last = max(arch.layer_names.index(name) for name in wanted.values())
        x, maps, early = images.astype(self.numerics.compute_dtype), {}, 0
        whole = train or self.scope.mutable or self._is_plain
        size = 0 if whole else _images_at_once(images.shape)
        if size:
            early = min(self._count_early_layers(images.shape), last + 1)
            x, maps = self._run_in_turns(x, size, early, wanted.values())
        x, later = _run(self._chain()[early : last + 1], x, train, wanted.values())
        maps |= later
        return {name: self._written(maps[resolved]) for name, resolved in wanted.items()}

    def head(self, fmap: jax.Array, train: bool = False, layer: str = HEAD) -> jax.Array:
        """Maps a feature map of `layer` to logits [N, num_classes] through the rest of the network."""
        arch = self.architecture
        start = arch.layer_names.index(arch.resolve_layer(layer)) + 1
        x, _ = _run(self._chain()[start:], fmap, train, ())
        pooled = jnp.mean(self._written(x), axis=(1, 2), dtype=self.numerics.param_dtype)
        return self.classifier(self.dropout(pooled, deterministic=not train))

    def scopes(self) -> dict[str, str]:
        """Returns for each layer, in order, the name under which its variables stand.

        `model.apply({}, method="scopes")`: it needs no variables.
        """
        return {layer: module.name for layer, module in self._chain()}

    @property
    def _is_plain(self) -> bool:
        return self.numerics.ops == "plain"

    def _written(self, x: jax.Array) -> jax.Array:
        return x if self._is_plain else _written(x)

    def _chain(self) -> list[Link]:
        raise NotImplementedError

    def _count_early_layers(self, shape: tuple[int, ...]) -> int:
        side = max(shape[1:3])
        layers = self.architecture.count(side, self.num_classes).layers
        return sum(layer.output_size * _EARLY >= side for layer in layers)

    def _run_in_turns(
        self, x: jax.Array, size: int, early: int, wanted: Collection[str]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Runs the first `early` layers in inference mode on `size` images at a time; otherwise like `_run`."""
        turn = nn.scan(
            lambda model, carry, x: (carry, _run(model._chain()[:early], x, False, wanted)),
            variable_broadcast=True,
            split_rngs={},
        )
        _, results = turn(self, (), x.reshape(-1, size, *x.shape[1:]))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), results)

    def _check_images(self, shape: tuple[int, ...]) -> None:
        if shape[3] != self.architecture.in_channels:
            raise UserError(
                f"the images have {shape[3]} channels but this model takes {self.architecture.in_channels}: create it "
                f"with in_channels={shape[3]}"
            )
        pixels = [self.architecture.final_map(side) for side in shape[1:3]]
        if 0 in pixels:
            raise UserError(f"a {shape[1]}x{shape[2]} input is too small for this model; use a larger resolution")
        if pixels == [1, 1] and not self.allow_1x1_map:
            raise UserError(
                f"a {shape[1]}x{shape[2]} input leaves a 1x1 head map, which trains badly: use smaller "
                "stem_stride/stage_strides or a larger resolution, or set allow_1x1_map=True"
            )


def _run(
    links: Sequence[Link], x: jax.Array, train: bool, wanted: Collection[str]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map and those of the `wanted` names."""
    maps = {}
    for name, module in links:
        try:
            x = module(x, train)
        except TypeError as error:
            if "custom_vjp" in str(error):  # JAX's words for our gradients under forward mode
                error.add_note('create the model with ops="plain" (config.model.ops) for forward-mode differentiation')
            raise
        if name in wanted:
            maps[name] = x
    return x, maps


def _written(x: jax.Array) -> jax.Array:
    """Returns the same map; in half precision on a CPU it is written to memory before anything reads it.

    XLA of JAX 0.11 and 0.12 makes one YNNPACK call of a sum and the layers before it. In bfloat16 that call gives NaN
    for `sum(relu(conv(relu(x))))`: both activations read one zero, and with any other number in one of them the sum is
    right. So whatever leaves the chain and may be summed passes here. In float32 the sum is right, and nothing changes.
    An option of XLA's keeps sums out of these calls, but then it takes them so slowly that training takes 1.4 times as
    long.
    """
    if x.dtype.itemsize > 2:
        return x
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)


def _images_at_once(shape: tuple[int, ...]) -> int:
    """How many images [N, H, W, C] to take through early layers at a time; 0 for all of them."""
    if not target.is_cpu() or target.device_count() > 1 or not isinstance(shape[0], int):
        return 0
    pixels = shape[1] * shape[2]
    most = max(_PIXELS_AT_ONCE // pixels, 1)
    size = max((n for n in range(1, min(most, shape[0]) + 1) if shape[0] % n == 0), default=0)
    return size if size < shape[0] and size * pixels >= _PIXELS_AT_ONCE // 2 else 0


def classifier(num_classes: int, numerics: Numerics, kernel_init: Callable = dense_init) -> nn.Dense:
    """Returns the dense layer behind the pooled head map; its logits are not in half precision."""
    dtype = numerics.param_dtype
    return nn.Dense(num_classes, dtype=dtype, param_dtype=dtype, kernel_init=kernel_init)
