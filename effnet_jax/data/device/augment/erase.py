"""Rectangles painted over: cutout and random erasing, one an image at most."""

import jax
import jax.numpy as jnp

# Random Erasing, Zhong et al. 2020, section 4.2: the range of the erased share, and of height over width.
AREA = (0.02, 0.33)
ASPECT = (0.3, 1 / 0.3)


def rectangles(
    top: jax.Array, left: jax.Array, heights: jax.Array, widths: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Returns bool [N, H, W], True inside; arguments [N] in pixels, parts outside of the image are cut off."""
    rows, columns = jnp.arange(size[0]), jnp.arange(size[1])
    top, left, heights, widths = (value[:, None] for value in (top, left, heights, widths))
    inside_rows = (rows >= top) & (rows < top + heights)
    inside_columns = (columns >= left) & (columns < left + widths)
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def cutout(key: jax.Array, count: int, size: tuple[int, int], side: int) -> jax.Array:
    """Draws a square of `side` pixels about any pixel (DeVries & Taylor 2017); returns bool [N, H, W]."""
    row_key, column_key = jax.random.split(key)
    row = jax.random.randint(row_key, (count,), 0, size[0])
    column = jax.random.randint(column_key, (count,), 0, size[1])
    sides = jnp.full(count, side)
    return rectangles(row - side // 2, column - side // 2, sides, sides, size)


def random_erasing(key: jax.Array, count: int, size: tuple[int, int], probability: float) -> jax.Array:
    """Draws, with `probability`, a rectangle of `AREA` and `ASPECT` inside the image; returns bool [N, H, W].

    Where the paper draws again until the rectangle fits, its longer side is cut to the image here.
    """
    area_key, aspect_key, row_key, column_key, apply_key = jax.random.split(key, 5)
    height, width = size
    area = height * width * jax.random.uniform(area_key, (count,), minval=AREA[0], maxval=AREA[1])
    log_aspect = jnp.log(jnp.array(ASPECT))
    aspect = jnp.exp(jax.random.uniform(aspect_key, (count,), minval=log_aspect[0], maxval=log_aspect[1]))
    heights = jnp.clip(jnp.rint(jnp.sqrt(area * aspect)), 1, height).astype(jnp.int32)
    widths = jnp.clip(jnp.rint(jnp.sqrt(area / aspect)), 1, width).astype(jnp.int32)
    top = jnp.floor(jax.random.uniform(row_key, (count,)) * (height - heights + 1)).astype(jnp.int32)
    left = jnp.floor(jax.random.uniform(column_key, (count,)) * (width - widths + 1)).astype(jnp.int32)
    applied = jax.random.bernoulli(apply_key, probability, (count, 1, 1))
    return applied & rectangles(top, left, heights, widths, size)
