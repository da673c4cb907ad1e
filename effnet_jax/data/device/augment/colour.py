"""Colour operations on one image, uint8 [H, W, 3], to the rounding of Pillow's ImageEnhance and ImageOps.

An enhancement factor of 1 leaves the image as it is; 0 gives black, grey, the mean grey or a blur.
Hues are turned in Pillow's HSV as torchvision turns them there.
"""

import jax
import jax.numpy as jnp

LEVELS = 256


def brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with black."""
    return _blend(jnp.zeros_like(image), image, factor)


def color(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the image's own grey (ITU-R 601-2): the saturation."""
    return _blend(_grey(image)[..., None], image, factor)


def contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean of the image's grey, rounded."""
    grey = _grey(image)
    mean = (2 * jnp.sum(grey.astype(jnp.int32)) + grey.size) // (2 * grey.size)
    return _blend(mean.astype(jnp.uint8), image, factor)


def sharpness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with a 3x3 average that weights the centre 5/13; pixels at the edge have none and stay."""
    pixels = image.astype(jnp.int32)
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * pixels[1:-1, 1:-1]
    smooth = image.at[1:-1, 1:-1].set(((2 * total + 13) // 26).astype(jnp.uint8))
    return _blend(smooth, image, factor)


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest `bits` of each level."""
    drop = (8 - bits).astype(jnp.uint8)
    return (image >> drop) << drop


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts the levels from `threshold` on."""
    return jnp.where(image >= threshold, 255 - image, image)


def invert(image: jax.Array) -> jax.Array:
    """Inverts all levels."""
    return 255 - image


def auto_contrast(image: jax.Array) -> jax.Array:
    """Stretches the levels of each channel to 0..255; a channel of one level stays."""
    pixels = image.astype(jnp.int32)
    low, high = jnp.min(pixels, (0, 1)), jnp.max(pixels, (0, 1))
    stretched = (pixels - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, pixels).astype(jnp.uint8)


def equalize(image: jax.Array) -> jax.Array:
    """Spreads the levels of each channel evenly; a channel of one level stays."""
    channels = image.shape[2]
    pixels = image.astype(jnp.int32)
    offset = LEVELS * jnp.arange(channels)
    counts = jnp.zeros(channels * LEVELS, jnp.int32).at[(pixels + offset).ravel()].add(1)
    counts = counts.reshape(channels, LEVELS)
    highest = jnp.max(pixels, (0, 1))
    step = (counts.sum(1) - jnp.take_along_axis(counts, highest[:, None], axis=1)[:, 0]) // 255
    below = jnp.cumsum(counts, axis=1) - counts
    table = (below + (step // 2)[:, None]) // jnp.maximum(step, 1)[:, None]
    spread = jnp.clip(table, 0, 255).ravel()[pixels + offset]
    return jnp.where(step > 0, spread, pixels).astype(jnp.uint8)


def hue(image: jax.Array, turn: jax.Array) -> jax.Array:
    """Turns the hue by `turn` of the colour circle, from -0.5 to 0.5.

    In the 8 bits of Pillow's HSV: the turn is cut to whole steps of 1/255, and hues wrap at 256.
    """
    position, saturation, value = _to_hsv(image)
    return _from_hsv((position + jnp.trunc(255 * turn).astype(jnp.int32)) % LEVELS, saturation, value)


def _to_hsv(image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hue, saturation and value, int32 [H, W] from 0 to 255; exact where Pillow computes in floating point."""
    red, green, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    circle = jnp.maximum(6 * chroma, 1)
    from_green = jnp.where(value == green, 2 * chroma + blue - red, 4 * chroma + red - green)
    position = jnp.where(value == red, green - blue, from_green) % circle
    return 255 * position // circle, 255 * chroma // jnp.maximum(value, 1), value


def _from_hsv(position: jax.Array, saturation: jax.Array, value: jax.Array) -> jax.Array:
    sector, rest = jnp.divmod(6 * position, 255)
    whole = 255**2
    rounded = lambda share: (2 * value * share + whole) // (2 * whole)  # noqa: E731
    low = rounded(255 * (255 - saturation))
    falling, rising = rounded(whole - saturation * rest), rounded(whole - saturation * (255 - rest))
    red = [value, falling, low, low, rising, value]  # by sector; green is behind it by a third, blue by two
    channels = [jnp.choose((sector + ahead) % 6, red, mode="clip") for ahead in (0, 4, 2)]
    return jnp.stack(channels, -1).astype(jnp.uint8)


def _grey(image: jax.Array) -> jax.Array:
    weights = jnp.array([19595, 38470, 7471], jnp.int32)  # of 65536
    return ((image.astype(jnp.int32) @ weights + 32768) >> 16).astype(jnp.uint8)


def _blend(degenerate: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow cuts off what is behind the point."""
    degenerate, image = degenerate.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(degenerate + factor * (image - degenerate), 0, 255).astype(jnp.uint8)
