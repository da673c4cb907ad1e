"""What the methods share: the part of a model below a layer, the part above, and the gradients between them.

A model is anything with the methods `features(images, train, layer)` and `head(fmap, train, layer)` and the attribute
`num_classes`. No hooks: the map of a layer is `features`, the rest of the network is `head`, and the gradient is
`jax.vjp` of `head` alone, so that nothing below the layer is differentiated.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.cam import targets as targets_lib
from effnet_jax.errors import UserError

HEAD = "head"  # the map after the last activation, before pooling
SPACE = (-3, -2)  # height and width of [..., h, w, K]

# (activations [N, h, w, K], gradients [N, h, w, K]) -> map [N, h, w], both float32; with T targets an image
# [N, 1, h, w, K], [N, T, h, w, K] -> [N, T, h, w].
Formula = Callable[[jax.Array, jax.Array], jax.Array]


def features(model: nn.Module, variables: Any, images: jax.Array, layer: str) -> jax.Array:
    """Returns the feature map [N, h, w, K] of `layer` in the model's compute dtype."""
    return model.apply(variables, images, train=False, layer=layer, method="features")


def head(model: nn.Module, variables: Any, fmap: jax.Array, layer: str) -> jax.Array:
    """Returns the logits [N, classes] of a feature map of `layer`."""
    return model.apply(variables, fmap, train=False, layer=layer, method="head")


def gradients(logits_of: Callable[[jax.Array], jax.Array], x: jax.Array, target: targets_lib.Target) -> jax.Array:
    """Differentiates the scores of `target` by `x`; T targets share one forward pass.

    Args:
      logits_of: x -> logits [N, classes], each image on its own.
      x: [N, ...].
      target: scores [N], or [N, T].

    Returns:
      float32 of the shape of `x`, or [N, T, ...].
    """
    logits, pull = jax.vjp(logits_of, x)
    scores, pull_scores = jax.vjp(target.resolve(logits).scores, logits)
    if scores.ndim == 1:
        (found,) = pull(*pull_scores(jnp.ones_like(scores)))
    else:
        one_target_each = jnp.eye(scores.shape[1], dtype=scores.dtype)
        by_target = lambda row: pull(*pull_scores(jnp.broadcast_to(row, scores.shape)))[0]  # noqa: E731
        found = jax.vmap(by_target, out_axes=1)(one_target_each)
    return at_least_float32(found)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Casts bfloat16 to float32, in which all formulas are computed, and leaves float64 alone."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def explain(
    formula: Formula, model: nn.Module, variables: Any, images: jax.Array, targets: Any, layer: str | None, raw: bool
) -> jax.Array:
    """Runs a method that is a formula of activations and gradients; see `methods` for the arguments.

    Raises:
      UserError: no such layer, targets that fit neither the images nor the model, or images of another shape.
    """
    target, layer = checked(model, images, targets), layer or HEAD
    return _above(formula, model, variables, below(model, variables, images, layer), target, layer, images.shape, raw)


def checked(model: nn.Module, images: jax.Array, targets: Any) -> targets_lib.Target:
    """Returns `targets` as a target of these images.

    Raises:
      UserError: as `explain`.
    """
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"images are normalised floats [N, H, W, 3], not {images.dtype} {list(images.shape)}; "
            "Preprocess makes them of pixels"
        )
    return targets_lib.as_target(targets, images.shape[0], model.num_classes)


# The large part of a network compiled by itself: whatever looks at one layer shares its program and that one's memory.
below = jax.jit(features, static_argnames=("model", "layer"))


@functools.partial(jax.jit, static_argnames=("formula", "model", "layer", "shape", "raw"))
def _above(formula, model, variables, fmap, target, layer, shape, raw):
    found_gradients = gradients(lambda fmap: head(model, variables, fmap, layer), fmap, target)
    found = formula(for_targets(fmap, found_gradients.ndim == 5), found_gradients)
    found = jnp.broadcast_to(found, found_gradients.shape[:-1])
    return finish(found, shape[1:3], raw)


def for_targets(fmap: jax.Array, several: bool) -> jax.Array:
    """Returns activations float32 [N, h, w, K], or [N, 1, h, w, K] to go with several targets an image."""
    activations = at_least_float32(fmap)
    return activations[:, None] if several else activations


def finish(found: jax.Array, size: tuple[int, int], raw: bool) -> jax.Array:
    """Makes a signed map [..., h, w] presentable: float32 [..., H, W] in [0, 1], unless `raw`.

    What speaks against the target is cut off (ReLU), the rest resized bilinearly and spread over 0..1.
    """
    found = found.astype(jnp.float32)
    return found if raw else unit_range(resize(nn.relu(found), size))


def resize(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes [..., h, w] bilinearly to [..., H, W], pixel centres aligned at half pixels."""
    return jax.image.resize(maps, (*maps.shape[:-2], *size), "linear", antialias=False)


def unit_range(maps: jax.Array, tiny: float = 1e-30) -> jax.Array:
    """Spreads each map [..., H, W] over 0..1; a constant one becomes 0."""
    lowest = maps.min((-2, -1), keepdims=True)
    return (maps - lowest) / jnp.maximum(maps.max((-2, -1), keepdims=True) - lowest, tiny)


def weighted_sum(weights: jax.Array, activations: jax.Array) -> jax.Array:
    """Sums the channels of [..., h, w, K] with weights [..., K]."""
    return jnp.einsum("...hwk,...k->...hw", activations, weights)
