"""Weight randomisation (Adebayo et al. 2018): a map of the model must not survive the loss of its weights."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Variables = dict[str, Any]


def layers_from_the_top(model: nn.Module, images: Any) -> list[str]:
    """Names the top-level modules of a model, the one computed last first.

    Args:
      model: any Flax module.
      images: an array or `jax.ShapeDtypeStruct` it takes.
    """
    names: list[str] = []

    def trace(key: jax.Array, images: jax.Array) -> None:
        # Flax adds modules to this dictionary as they are called; a jitted `init` would return them sorted.
        names.extend(model.init(key, images, train=False)["params"])

    jax.eval_shape(trace, jax.random.key(0), images)
    return names[::-1]


def cascade(variables: Variables, layers: list[str], seed: int) -> Iterator[tuple[str, Variables]]:
    """Randomises one layer after the other and keeps what is randomised: yields (layer, variables so far).

    The values of each array are permuted, which keeps their distribution: freshly initialised weights beside trained
    BatchNorm statistics would let activations die or explode, and the comparison would be of degenerate maps.
    """
    rng = np.random.default_rng(seed)
    permuted = lambda leaf: rng.permutation(np.ravel(leaf)).reshape(leaf.shape)  # noqa: E731
    for layer in layers:
        variables = {
            collection: modules | {layer: jax.tree.map(permuted, modules[layer])} if layer in modules else modules
            for collection, modules in variables.items()
        }
        yield layer, variables


@jax.jit
def spearman(a: jax.Array, b: jax.Array) -> jax.Array:
    """Rank correlation [N] of maps [N, h, w]; equal values share the mean of their ranks, a constant map gives 0."""
    a, b = (_centred_ranks(maps.reshape(maps.shape[0], -1)) for maps in (a, b))
    size = jnp.sqrt((a**2).sum(1) * (b**2).sum(1))
    return jnp.where(size > 0, (a * b).sum(1) / jnp.where(size > 0, size, 1), 0.0)


def _centred_ranks(values: jax.Array) -> jax.Array:
    ordered = jnp.sort(values, axis=1)
    search = lambda side: jax.vmap(lambda row, of: jnp.searchsorted(row, of, side=side))(ordered, values)  # noqa: E731
    ranks = (search("left") + search("right")) / 2
    return ranks - ranks.mean(1, keepdims=True)
