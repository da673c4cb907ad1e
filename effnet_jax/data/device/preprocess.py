"""From stored images to what a model sees: the one rule used by training, evaluation and prediction."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.decode import inputs
from effnet_jax.data.decode.images import central_square, crop_box
from effnet_jax.data.decode.inputs import COLOUR, Input
from effnet_jax.errors import UserError

GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as Pillow's mode "L"
_ON_DEVICE = {"bicubic": "bicubic", "bilinear": "linear"}  # Pillow's names -> those of jax.image


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Central square crop, resize to the model's resolution, normalisation.

    Stored with every checkpoint. It exists twice, for arrays on the device, which have few sizes, and on the host for
    single images, each of its own size (a device version would compile for each, and keep what it compiled). Both use
    the same antialiased kernel (bicubic with a = -0.5) in float arithmetic.

    There are as many channels C as `mean` has values. Where that is one, colour images are made grey.

    Attributes:
      resolution: side in pixels of what the model sees.
      mean, std: per channel, C each, as fractions of 255.
      crop_fraction: side of the central square that is kept, as a share of the shorter side; 1 for
        small images, 0.875 for ImageNet models.
      interpolation: "bicubic" or "bilinear".
    """

    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"

    @property
    def channels(self) -> int:
        """C, what the model takes."""
        return len(self.mean)

    def takes(self, channels: int) -> bool:
        """Whether images of so many channels can be given."""
        return channels == self.channels or (channels, self.channels) == (COLOUR, 1)

    def __call__(self, images: jax.Array | Input | Iterable[Input]) -> jax.Array:
        """Maps images to what the model sees, float32 [N, resolution, resolution, C].

        Args:
          images: uint8 or float [N, H, W, C] in 0..255 on the device, also under `jax.jit`, which compiles for each
            size; or anything that `decode.inputs` takes, NumPy's arrays too, prepared on the host.

        Raises:
          UserError: see `decode.inputs`.
        """
        if not isinstance(images, jax.Array):
            return self.normalize(self.batch(inputs.as_list(images)))
        top, left, side = self.crop_box(*images.shape[1:3])
        images = images[:, top : top + side, left : left + side].astype(jnp.float32)
        if side != self.resolution:
            shape = (images.shape[0], self.resolution, self.resolution, images.shape[3])
            images = jnp.clip(
                jax.image.resize(images, shape, _ON_DEVICE[self.interpolation], antialias=True), 0.0, 255.0
            )
        return self.normalize(images)

    def of_cut_images(self) -> "Preprocess":
        """Returns the rule for images that are stored as their central square already."""
        return dataclasses.replace(self, crop_fraction=1.0)

    def normalize(self, images: jax.Array) -> jax.Array:
        """Normalises [N, resolution, resolution, C] in 0..255, as `on_host` gives them; nothing is cropped."""
        if images.shape[-1] == COLOUR and self.channels == 1:
            images = jnp.sum(images * jnp.asarray(GREY, jnp.float32), axis=-1, keepdims=True)
        # One multiply-add an element; the constants are folded at compile time.
        scale = 1.0 / (255.0 * jnp.asarray(self.std, jnp.float32))
        shift = -jnp.asarray(self.mean, jnp.float32) / jnp.asarray(self.std, jnp.float32)
        return images.astype(jnp.float32) * scale + shift

    def prepare(self, image: Input) -> np.ndarray:
        """Returns `on_host` of one image of any kind and size, see `inputs.pixels`.

        Raises:
          UserError: see there; or it has other channels than the model takes.
        """
        pixels = inputs.pixels(image, self.channels)
        if not self.takes(pixels.shape[2]):
            name = image if isinstance(image, str | os.PathLike) else "an image"
            raise UserError(
                f"{name} is {list(pixels.shape)}, but this model sees [height, width, {self.channels}]; "
                "give arrays uint8 of that shape"
            )
        return self.on_host(pixels)

    def batch(self, images: Sequence[Input], size: int | None = None) -> np.ndarray:
        """Returns `prepare` of several images, float32 [size, resolution, resolution, C], zeros after the last.

        Each is written to its place: a list of them beside the whole would take the memory twice.
        """
        first = self.prepare(images[0])
        whole = np.zeros((size or len(images), *first.shape), np.float32)
        whole[0] = first
        for row, image in enumerate(images[1:], start=1):
            whole[row] = self.prepare(image)
        return whole

    def mean_colour(self) -> jax.Array:
        """Returns the colour uint8 [C] that becomes about 0."""
        return jnp.asarray(np.rint(255 * np.array(self.mean)), jnp.uint8)

    def on_host(self, image: np.ndarray) -> np.ndarray:
        """Crops and resizes one uint8 [H, W, C] to float32 [resolution, resolution, C] in 0..255.

        Normalisation is left to `normalize`.
        """
        return central_square(image, self.resolution, self.crop_fraction, self.interpolation)

    def crop_box(self, height: int, width: int) -> tuple[int, int, int]:
        """Returns top, left and side in pixels of the central square that is kept of an image."""
        return crop_box(height, width, self.crop_fraction)
