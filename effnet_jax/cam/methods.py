"""Maps from the activations of a layer and the gradients of a score by them.

All take the same arguments:

  model: a module with `features` and `head`; static under `jax.jit`.
  variables: {"params", "batch_stats"}.
  images: normalised floats [N, H, W, 3], as `Preprocess` makes them.
  targets: what to explain: None for the prediction, a class, int [N], int [N, T] for T maps an image that share one
    forward pass, `TopK(k)`, `Difference(a, b)`, or a function of the logits [N, classes] -> [N] or [N, T].
  layer: a name that `features` knows; None is the map after the last activation.
  raw: return the signed map [N, h, w] of the layer's own size instead.

and return float32 [N, H, W] in [0, 1] ([N, T, H, W] for T targets). They may be called inside a `jax.jit` of yours;
called outside, they compile once a shape. In formulas A is [h, w, K], g = dy/dA, and sums over i are over pixels.
What a user can do wrong (a layer or class that is not there, shapes) is raised as `UserError`.

    images = net.preprocess(pixels)  # uint8 [N, H, W, 3]
    maps = effnet_jax.cam.grad_cam(net.model, net.variables, images)
    two = effnet_jax.cam.layer_cam(net.model, net.variables, images, targets=TopK(2), layer="stage5")
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from effnet_jax.cam.base import (
    HEAD,
    SPACE,
    Formula,
    at_least_float32,
    below,
    checked,
    explain,
    finish,
    for_targets,
    gradients,
    head,
    weighted_sum,
)
from effnet_jax.errors import UserError

_XGRAD_EPSILON = 1e-7  # as in pytorch-grad-cam
_TINY = 1e-30


def cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """CAM (Zhou et al. 2016, eq. 2): sum_k W_kc A_k, the classifier applied to every pixel of the head map.

    W is the gradient of the head at the pooled map, where pooling does nothing: no name of a parameter is assumed.

    Raises:
      UserError: `layer` is not the head map, above which alone the network is pooling and a linear classifier.
    """
    if layer not in (None, HEAD):
        raise UserError(f"CAM is defined at the layer {HEAD!r} alone, not at {layer!r}; use grad_cam there")
    target = checked(model, images, targets)
    return _cam(model, variables, below(model, variables, images, HEAD), target, images.shape, raw)


@functools.partial(jax.jit, static_argnames=("model", "shape", "raw"))
def _cam(model, variables, fmap, target, shape, raw):
    pooled = at_least_float32(fmap).mean(SPACE, keepdims=True)
    rows = gradients(lambda pooled: head(model, variables, pooled, HEAD), pooled, target)[..., 0, 0, :]
    return finish(weighted_sum(rows, for_targets(fmap, rows.ndim == 3)), shape[1:3], raw)


def grad_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): sum_k w_k A_k with w_k = mean_i g_ik.

    At the head map it is CAM / (h w). Arguments and result as in this module's docstring.
    """
    return explain(_grad_cam, model, variables, images, targets, layer, raw)


def _grad_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    return weighted_sum(g.mean(SPACE), a)


def grad_cam_plus_plus(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    targets: Any = None,
    layer: str | None = None,
    *,
    raw: bool = False,
    epsilon: float = 0.0,
) -> jax.Array:
    """Grad-CAM++ (Chattopadhay et al. 2018, eq. 19): w_k = sum_i max(g_ik, 0) / (2 + g_ik sum_j A_jk).

    Their eq. 19 with g^2 cancelled, for the exponential of the score whose derivatives it assumes. At the head map
    w_k = max(W_kc, 0) / (2 + W_kc mean(A_k)). It supposes activations above 0: where a channel's sum is negative, as
    it may be below the head, the denominator can come near 0 and rounding then decides; there use LayerCAM.

    Args:
      model, variables, images, targets, layer, raw: as in this module's docstring.
      epsilon: added to the denominator before g^2 is cancelled. 1e-6 gives the maps of pytorch-grad-cam, whose guard
        against 0 / 0 outweighs g^2 where gradients are below a thousandth, as they are at the head map.
    """
    return explain(_grad_cam_plus_plus(epsilon), model, variables, images, targets, layer, raw)


@functools.cache  # one function a value, so that it compiles once
def _grad_cam_plus_plus(epsilon: float) -> Formula:
    def formula(a: jax.Array, g: jax.Array) -> jax.Array:
        positive = nn.relu(g)
        denominator = 2.0 + positive * a.sum(SPACE, keepdims=True) + epsilon / jnp.maximum(positive**2, _TINY)
        return weighted_sum((positive / jnp.where(denominator == 0, 1, denominator)).sum(SPACE), a)

    return formula


def xgrad_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """XGrad-CAM (Fu et al. 2020, eq. 8): w_k = sum_i g_ik A_ik / sum_i A_ik; at the head map Grad-CAM.

    At linear layers, such as the ends of inverted residual blocks, the sum of a channel may be near 0 and its weight
    large: there use HiResCAM or LayerCAM.
    """
    return explain(_xgrad_cam, model, variables, images, targets, layer, raw)


def _xgrad_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    return weighted_sum((g * a).sum(SPACE) / (a.sum(SPACE) + _XGRAD_EPSILON), a)


def hires_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """HiResCAM (Draelos & Carin 2020, eq. 4): sum_k g_ik A_ik; at the head map CAM / (h w), summing to y_c - b_c."""
    return explain(_hires_cam, model, variables, images, targets, layer, raw)


def _hires_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    return (g * a).sum(-1)


def layer_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """LayerCAM (Jiang et al. 2021, eq. 6 and 7): sum_k max(g_ik, 0) A_ik; the choice for lower layers."""
    return explain(_layer_cam, model, variables, images, targets, layer, raw)


def _layer_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    return (nn.relu(g) * a).sum(-1)


def eigen_cam(
    model: nn.Module, variables: Any, images: jax.Array, targets: Any = None, layer: str | None = None, *, raw=False
) -> jax.Array:
    """Eigen-CAM (Muhammad & Yeasin 2020, eq. 2): the activations along their first principal component.

    Needs no classifier: `targets` only gives the shape. Channels are centred over the pixels, as in
    pytorch-grad-cam. The sign, which an eigenvector leaves open, is that of the correlation with sum_k A_k.
    """
    return explain(_eigen_cam, model, variables, images, targets, layer, raw)


def _eigen_cam(a: jax.Array, g: jax.Array) -> jax.Array:
    del g
    h, w, channels = a.shape[-3:]
    x = (a - a.mean(SPACE, keepdims=True)).reshape(*a.shape[:-3], h * w, channels)
    if h * w <= channels:  # the smaller of the two Gram matrices has the same first component
        values, vectors = jnp.linalg.eigh(jnp.einsum("...ik,...jk->...ij", x, x))
        projected = vectors[..., -1] * jnp.sqrt(jnp.maximum(values[..., -1:], 0))
    else:
        _, vectors = jnp.linalg.eigh(jnp.einsum("...ik,...il->...kl", x, x))
        projected = jnp.einsum("...ik,...k->...i", x, vectors[..., -1])
    agreement = (projected * x.sum(-1)).sum(-1, keepdims=True)
    return jnp.where(agreement < 0, -projected, projected).reshape(a.shape[:-1])
