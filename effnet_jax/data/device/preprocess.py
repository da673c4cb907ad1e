"""From stored images to what a model sees: the one rule used by training, evaluation and prediction."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.decode.images import central_square, crop_box


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Central square crop, bicubic resize to the model's resolution, normalisation.

    Stored with every checkpoint. It exists twice, for arrays on the device and for single decoded files
    on the host (each of its own size, so a device version would compile for each); both use the same
    antialiased bicubic kernel (a = -0.5) in float arithmetic.

    Attributes:
      resolution: side in pixels of what the model sees.
      mean, std: per channel, as fractions of 255.
      crop_fraction: side of the central square that is kept, as a share of the shorter side; 1 for
        small images, 0.875 for ImageNet models.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_fraction: float = 1.0

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps uint8 or float [N, H, W, 3] in 0..255 to float32 [N, resolution, resolution, 3]."""
        top, left, side = self.crop_box(*images.shape[1:3])
        images = images[:, top : top + side, left : left + side].astype(jnp.float32)
        if side != self.resolution:
            shape = (images.shape[0], self.resolution, self.resolution, images.shape[3])
            images = jnp.clip(jax.image.resize(images, shape, "bicubic", antialias=True), 0.0, 255.0)
        return self.normalize(images)

    def of_cut_images(self) -> "Preprocess":
        """Returns the rule for images that are stored as their central square already."""
        return dataclasses.replace(self, crop_fraction=1.0)

    def normalize(self, images: jax.Array) -> jax.Array:
        """Normalises [N, resolution, resolution, 3] in 0..255, as `on_host` gives them; nothing is cropped."""
        # One multiply-add an element; the constants are folded at compile time.
        scale = 1.0 / (255.0 * jnp.asarray(self.std, jnp.float32))
        shift = -jnp.asarray(self.mean, jnp.float32) / jnp.asarray(self.std, jnp.float32)
        return images.astype(jnp.float32) * scale + shift

    def mean_colour(self) -> jax.Array:
        """Returns the colour uint8 [3] that becomes about 0."""
        return jnp.asarray(np.rint(255 * np.array(self.mean)), jnp.uint8)

    def on_host(self, image: np.ndarray) -> np.ndarray:
        """Crops and resizes one uint8 [H, W, 3] to float32 [resolution, resolution, 3] in 0..255.

        Normalisation is left to `normalize`.
        """
        return central_square(image, self.resolution, self.crop_fraction)

    def crop_box(self, height: int, width: int) -> tuple[int, int, int]:
        """Returns top, left and side in pixels of the central square that is kept of an image."""
        return crop_box(height, width, self.crop_fraction)
