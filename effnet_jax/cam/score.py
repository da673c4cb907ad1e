"""Score-CAM: channels weighted by what the model says of the image seen through them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.cam.base import HEAD, checked, features, finish, for_targets, head, resize, unit_range, weighted_sum

_TINY = 1e-8  # a channel flatter than this is no mask


def score_cam(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: Any = None,
    layer: str | None = None,
    *,
    raw: bool = False,
    batch_size: int = 64,
) -> jax.Array:
    """Score-CAM (Wang et al. 2020, algorithm 1): sum_k w_k A_k, w = softmax over k of the score of image * mask_k.

    mask_k is A_k resized to the image and spread over 0..1. Without a gradient, but with K forward passes an image
    (1280 for B0); they run in batches, in one compiled loop.

    Args:
      model, variables, images, targets, layer, raw: see `methods`.
      batch_size: masked images at a time, over all devices.
    """
    target = checked(model, images, targets)
    chunk = max(1, batch_size // images.shape[0])
    return _score_cam(model, variables, images, target, layer or HEAD, raw, chunk)


@functools.partial(jax.jit, static_argnames=("model", "layer", "raw", "chunk"))
def _score_cam(model, variables, images, target, layer, raw, chunk):
    fmap = features(model, variables, images, layer)
    target = target.resolve(head(model, variables, fmap, layer))  # the prediction is that of the whole image
    count, (height, width), channels = images.shape[0], images.shape[1:3], fmap.shape[-1]

    def scores_through(some: jax.Array) -> jax.Array:
        """Scores [chunk, N] or [chunk, N, T] of the images seen through maps [N, chunk, h, w]."""
        masks = unit_range(resize(some, (height, width)), _TINY)
        seen = (images[:, None] * masks[..., None]).astype(images.dtype)
        logits = model.apply(variables, seen.reshape(count * chunk, *images.shape[1:]), train=False)
        return jax.vmap(target.scores, in_axes=1)(logits.reshape(count, chunk, -1))

    padding = [(0, 0), (0, 0), (0, 0), (0, -channels % chunk)]
    chunks = jnp.pad(fmap.astype(jnp.float32), padding).reshape(count, *fmap.shape[1:3], -1, chunk)
    scores = jax.lax.map(scores_through, jnp.transpose(chunks, (3, 0, 4, 1, 2)))
    weights = nn.softmax(scores.reshape(-1, *scores.shape[2:])[:channels].astype(jnp.float32), axis=0)
    found = weighted_sum(jnp.moveaxis(weights, 0, -1), for_targets(fmap, weights.ndim == 3))
    return finish(found, (height, width), raw)
