"""What a map explains: for each image one score, or several, made of its logits.

A target is a pytree, so that other classes of the same shape compile nothing anew. Scores are of logits, not of
probabilities: a probability also falls when another class rises, and its gradient vanishes where the model is sure.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.errors import UserError

_pytree = functools.partial(functools.partial, jax.tree_util.register_dataclass)


@_pytree(data_fields=["indices"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Classes:
    """Logits of classes int [N], or int [N, T] for T maps an image."""

    indices: jax.Array

    def resolve(self, logits: jax.Array) -> "Classes":
        del logits
        return self

    def scores(self, logits: jax.Array) -> jax.Array:
        return _pick(logits, self.indices)


@_pytree(data_fields=["wanted", "against"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Difference:
    """What speaks for `wanted` rather than `against`: the difference of two logits.

    Attributes:
      wanted, against: a class for all images, or int [N], or int [N, T].
    """

    wanted: Any
    against: Any

    def resolve(self, logits: jax.Array) -> "Difference":
        del logits
        return self

    def scores(self, logits: jax.Array) -> jax.Array:
        return _pick(logits, self.wanted) - _pick(logits, self.against)


@_pytree(data_fields=[], meta_fields=["k"])
@dataclasses.dataclass(frozen=True)
class TopK:
    """The logits of each image's k best classes, best first: T = k maps an image."""

    k: int

    def resolve(self, logits: jax.Array) -> Classes:
        return Classes(jax.lax.top_k(logits, self.k)[1])


@_pytree(data_fields=[], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Prediction:
    """The logit of each image's best class."""

    def resolve(self, logits: jax.Array) -> Classes:
        return Classes(jnp.argmax(logits, axis=-1))


@_pytree(data_fields=[], meta_fields=["function"])
@dataclasses.dataclass(frozen=True)
class Function:
    """Any differentiable function logits [N, classes] -> [N] or [N, T] that treats each row on its own."""

    function: Callable[[jax.Array], jax.Array]

    def resolve(self, logits: jax.Array) -> "Function":
        scores = jax.eval_shape(self.function, logits)
        if getattr(scores, "ndim", 0) not in (1, 2) or scores.shape[0] != logits.shape[0]:
            raise UserError(
                f"a target function maps logits {list(logits.shape)} to scores [{logits.shape[0]}] or "
                f"[{logits.shape[0]}, T], not {list(getattr(scores, 'shape', ()))}"
            )
        return self

    def scores(self, logits: jax.Array) -> jax.Array:
        return self.function(logits)


Target = Classes | Difference | TopK | Prediction | Function


def as_target(targets: Any, count: int, num_classes: int) -> Target:
    """Makes a target of what the methods accept as `targets`.

    Args:
      targets: None for the prediction; a class; int [N] or [N, T]; `TopK`, `Difference`; a function of the logits
        [N, classes] -> [N] or [N, T] (the same function object compiles once).
      count: number of images N.
      num_classes: number of logits.

    Raises:
      UserError: there is no such class, or the shape fits neither [N] nor [N, T].
    """
    if targets is None:
        return Prediction()
    if isinstance(targets, TopK):
        if not 1 <= targets.k <= num_classes:
            raise UserError(f"the {targets.k} best of {num_classes} classes cannot be had")
        return targets
    if isinstance(targets, Difference):
        return Difference(*(_indices(side, count, num_classes) for side in (targets.wanted, targets.against)))
    if isinstance(targets, Classes):
        targets = targets.indices
    if callable(targets):
        return targets if isinstance(targets, Function) else Function(targets)
    return targets if isinstance(targets, Prediction | Function) else Classes(_indices(targets, count, num_classes))


def _indices(classes: Any, count: int, num_classes: int) -> jax.Array:
    if not isinstance(classes, jax.core.Tracer):
        values = np.asarray(classes)
        if not np.issubdtype(values.dtype, np.integer):
            raise UserError(f"targets are class indices or a function of the logits, not {values.dtype}")
        wrong = values[(values < 0) | (values >= num_classes)]
        if wrong.size:
            raise UserError(f"there is no class {wrong.flat[0]}: the model has {num_classes}, counted from 0")
    indices = jnp.asarray(classes, jnp.int32)
    if indices.ndim == 0:
        return jnp.full((count,), indices)
    if indices.ndim > 2 or indices.shape[0] != count:
        raise UserError(f"targets of {count} images are [{count}] or [{count}, T], not {list(indices.shape)}")
    return indices


def _pick(logits: jax.Array, indices: jax.Array) -> jax.Array:
    if indices.ndim == 1:
        return jnp.take_along_axis(logits, indices[:, None], axis=-1)[:, 0]
    return jnp.take_along_axis(logits, indices, axis=-1)
