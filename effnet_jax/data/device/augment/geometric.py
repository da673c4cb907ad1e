"""Geometric operations on one image as Pillow's `Image.transform(AFFINE)` does them, nearest neighbour."""

import jax
import jax.numpy as jnp

FILL = 128  # grey level of what an operation uncovers, as in the official EfficientNet's augmentation


def shear_x(image: jax.Array, slope: jax.Array) -> jax.Array:
    """Shifts each row of uint8 [H, W, 3] to the left by `slope` times its distance from the upper edge."""
    return _affine(image, (1.0, slope, 0.0, 0.0, 1.0, 0.0))


def shear_y(image: jax.Array, slope: jax.Array) -> jax.Array:
    """Shifts each column upwards by `slope` times its distance from the left edge."""
    return _affine(image, (1.0, 0.0, 0.0, slope, 1.0, 0.0))


def translate_x(image: jax.Array, pixels: jax.Array) -> jax.Array:
    """Moves the image to the left by `pixels`."""
    return _affine(image, (1.0, 0.0, pixels, 0.0, 1.0, 0.0))


def translate_y(image: jax.Array, pixels: jax.Array) -> jax.Array:
    """Moves the image upwards by `pixels`."""
    return _affine(image, (1.0, 0.0, 0.0, 0.0, 1.0, pixels))


def rotate(image: jax.Array, degrees: jax.Array) -> jax.Array:
    """Turns the image counter-clockwise about its centre."""
    height, width = image.shape[:2]
    radians = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    x0, y0 = width / 2, height / 2
    return _affine(image, (cos, -sin, x0 - cos * x0 + sin * y0, sin, cos, y0 - sin * x0 - cos * y0))


def _affine(image: jax.Array, coefficients: tuple) -> jax.Array:
    """Output pixel centre (x, y) takes the input pixel in which (a x + b y + c, d x + e y + f) lies."""
    a, b, c, d, e, f = coefficients
    height, width = image.shape[:2]
    y, x = jnp.mgrid[:height, :width] + 0.5
    column = jnp.floor(a * x + b * y + c).astype(jnp.int32)
    row = jnp.floor(d * x + e * y + f).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    taken = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(inside[..., None], taken, jnp.uint8(FILL))
