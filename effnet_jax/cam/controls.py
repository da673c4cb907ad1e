"""Maps that know nothing of the model, which any method has to beat."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from effnet_jax.cam.base import finish


def random_map(key: jax.Array, count: int, grid: tuple[int, int], size: tuple[int, int]) -> jax.Array:
    """Uniform noise on the grid of the layer, resized like a real map: float32 [count, *size] in [0, 1]."""
    return finish(jax.random.uniform(key, (count, *grid)), size, raw=False)


def centred_gaussian(key: jax.Array, count: int, grid: tuple[int, int], size: tuple[int, int]) -> jax.Array:
    """A Gaussian at the centre with a standard deviation of a quarter of the side: photographs are centred."""
    del key, grid
    rows, columns = (jnp.exp(-0.5 * (jnp.linspace(-0.5, 0.5, side) / 0.25) ** 2) for side in size)
    return jnp.broadcast_to(rows[:, None] * columns, (count, *size)).astype(jnp.float32)


def all_ones(key: jax.Array, count: int, grid: tuple[int, int], size: tuple[int, int]) -> jax.Array:
    """Everything alike; ranks of pixels, where a measure needs them, are then random."""
    del key, grid
    return jnp.ones((count, *size), jnp.float32)


Control = Callable[[jax.Array, int, tuple[int, int], tuple[int, int]], jax.Array]
CONTROLS: dict[str, Control] = {"random": random_map, "gaussian": centred_gaussian, "ones": all_ones}
