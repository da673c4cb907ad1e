"""How the blocks of ResNets and DenseNets end, written to memory on a CPU before anything reads it.

XLA:CPU computes a cheap elementwise result again wherever it is read. The end of a block is read by the end of the
next one, so the last of 36 blocks of a ResNet would read the branches of all 36, in both directions: a third of the
time of a training step of ResNet-152. In a DenseNet the loops of a program grow with the square of its depth, and so
does the time to compile them. A call that XLA may not inline is where that ends.

Reverse mode works any number of times. Forward mode (`jax.jvp`) is not defined.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def _written(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Returns `function(*arrays)`; on a CPU from a call of its own."""

    def call(*arrays: jax.Array) -> Any:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(function)(*arrays)

    return lax.platform_dependent(*arrays, cpu=call, default=function)


# --- The sum of a ResNet. ----------------------------------------------------------------------------------


@jax.custom_vjp
def add_relu(x: jax.Array, shortcut: jax.Array) -> jax.Array:
    """Returns `relu(x + shortcut)` of two arrays of one shape and dtype."""
    return _written(_relu_of_sum, x, shortcut)


def _add_relu_forward(x: jax.Array, shortcut: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = add_relu(x, shortcut)
    return y, y


def _add_relu_backward(y: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    gradient = _written(_where_positive, y, g)
    return gradient, gradient


add_relu.defvjp(_add_relu_forward, _add_relu_backward)


def _relu_of_sum(x: jax.Array, shortcut: jax.Array) -> jax.Array:
    return jax.nn.relu(x + shortcut)


def _where_positive(y: jax.Array, g: jax.Array) -> jax.Array:
    return lax.select(y > 0, g, lax.full_like(g, 0))


# --- The concatenation of a DenseNet. ----------------------------------------------------------------------


def append_channels(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns `[..., C]` and `[..., D]` as `[..., C + D]`."""
    return _append_channels(x.shape[-1], x, y)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _append_channels(channels: int, x: jax.Array, y: jax.Array) -> jax.Array:
    return _written(lambda x, y: jnp.concatenate([x, y], axis=-1), x, y)


def _append_channels_backward(channels: int, _, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _written(lambda g: (g[..., :channels], g[..., channels:]), g)


_append_channels.defvjp(lambda channels, x, y: (_append_channels(channels, x, y), None), _append_channels_backward)
