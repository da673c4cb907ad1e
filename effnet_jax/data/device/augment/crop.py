"""Shifted crops and horizontal flips, drawn per image from a key."""

import jax
import jax.numpy as jnp


def crop_and_flip(
    key: jax.Array, count: int, height: int, width: int, *, padding: int, flip: bool
) -> tuple[jax.Array, jax.Array]:
    """Draws a shifted crop and a horizontal flip for each of `count` images, as pixel indices.

    The crop has the image's own size and moves by up to `padding` pixels each way; what it uncovers is
    filled by reflection. Returning indices lets one gather read, shift and mirror straight from the set.

    Returns:
      Source rows int32 [count, height] and source columns int32 [count, width].
    """
    row_key, column_key, flip_key = jax.random.split(key, 3)
    rows = _shifted(row_key, count, height, padding)
    columns = _shifted(column_key, count, width, padding)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, 0.5, (count, 1))
        columns = jnp.where(mirrored, columns[:, ::-1], columns)
    return rows, columns


def _shifted(key: jax.Array, count: int, size: int, padding: int) -> jax.Array:
    offset = jax.random.randint(key, (count, 1), -padding, padding + 1)
    index = jnp.abs(jnp.arange(size) + offset)  # reflect below 0 ...
    return jnp.where(index >= size, 2 * (size - 1) - index, index)  # ... and above size - 1
