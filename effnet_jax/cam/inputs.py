"""Maps at the input, from gradients through the whole model."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.cam.base import checked, finish, gradients


def input_gradients(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, *, raw: bool = False
) -> jax.Array:
    """Plain gradients (Simonyan et al. 2014, section 3.1): the largest |dy/dx| of a pixel's channels.

    Arguments and result as in `methods`; there is no layer but the image itself.
    """
    return _input_gradients(model, variables, images, checked(model, images, targets), raw)


@functools.partial(jax.jit, static_argnames=("model", "raw"))
def _input_gradients(model, variables, images, target, raw):
    found = gradients(lambda x: model.apply(variables, x, train=False), images, target)
    return finish(jnp.abs(found).max(-1), images.shape[1:3], raw)


def integrated_gradients(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: Any = None,
    *,
    raw: bool = False,
    baseline: jax.Array | float = 0.0,
    steps: int = 32,
) -> jax.Array:
    """Integrated gradients (Sundararajan et al. 2017, eq. 1), summed over channels.

    The raw map sums to score(image) - score(baseline) up to the error of the midpoint rule.

    Args:
      model, variables, images, targets, raw: see `methods`.
      baseline: an image [H, W, 3] or number in normalised units; 0 is the data set's mean colour.
      steps: points of the path from baseline to image.
    """
    target = checked(model, images, targets)
    return _integrated_gradients(model, variables, images, target, raw, jnp.asarray(baseline, images.dtype), steps)


@functools.partial(jax.jit, static_argnames=("model", "raw", "steps"))
def _integrated_gradients(model, variables, images, target, raw, baseline, steps):
    logits_of = lambda x: model.apply(variables, x, train=False)  # noqa: E731
    target = target.resolve(logits_of(images))  # the prediction is that of the image, all along the path
    path = images - baseline

    def add(total: jax.Array, fraction: jax.Array) -> tuple[jax.Array, None]:
        return total + gradients(logits_of, baseline + fraction * path, target), None

    start = jnp.zeros_like(jax.eval_shape(lambda: gradients(logits_of, images, target)))
    fractions = ((jnp.arange(steps) + 0.5) / steps).astype(images.dtype)
    total, _ = jax.lax.scan(add, start, fractions)
    found = total / steps * (path if total.ndim == 4 else path[:, None])
    return finish(found.sum(-1), images.shape[1:3], raw)
