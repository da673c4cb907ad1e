"""From stored images to what a model sees: the one function used by training, evaluation and prediction."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resize to the model's resolution and normalise; stored with every checkpoint.

    Attributes:
      resolution: side in pixels of what the model sees.
      mean, std: per channel, as fractions of 255.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps uint8 or float [N, H, W, 3] in 0..255 to float32 [N, resolution, resolution, 3].

        Other sizes are resized on the device by antialiased bicubic interpolation (a = -0.5).
        """
        images = images.astype(jnp.float32)
        size = (self.resolution, self.resolution)
        if images.shape[1:3] != size:
            shape = (images.shape[0], *size, images.shape[3])
            images = jnp.clip(jax.image.resize(images, shape, "bicubic", antialias=True), 0.0, 255.0)
        # One multiply-add an element; the constants are folded at compile time.
        scale = 1.0 / (255.0 * jnp.asarray(self.std, jnp.float32))
        shift = -jnp.asarray(self.mean, jnp.float32) / jnp.asarray(self.std, jnp.float32)
        return images * scale + shift
