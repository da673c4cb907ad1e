"""Crops of photographs that are decoded for one use: drawn at random for training, central for evaluation.

A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves enough pixels: its decoder
then skips most of the inverse cosine transform.
"""

import contextlib
import dataclasses
import io
import math

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from effnet_jax.data import images

ATTEMPTS = 10
SCALES = (8, 4, 2)
# How many times the pixels of its result a crop keeps when it is decoded at reduced size. For training as many are
# enough; evaluation takes twice as many, so that its figures are those of a whole decode.
TRAINING_MARGIN, EVALUATION_MARGIN = 1, 2

_ORIENTATION = 0x0112  # EXIF
_UPRIGHT = (None, 1)  # its values for an image as it is stored
_TURNED = (5, 6, 7, 8)  # those that swap height and width


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def scaled(self, vertically: float, horizontally: float) -> tuple[int, int, int, int]:
        """Returns left, top, right and bottom in a scaled image."""
        left, right = (round(horizontally * edge) for edge in (self.left, self.left + self.width))
        top, bottom = (round(vertically * edge) for edge in (self.top, self.top + self.height))
        return left, top, right, bottom


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Rectangles of random area, shape and place, the augmentation of the official pipeline.

    The rule is that of TensorFlow's `sample_distorted_bounding_box`: an aspect ratio is drawn, then a height from
    all that keep the area within its bounds and the rectangle within the image, then its place, each uniformly.

    Attributes:
      area: Smallest and largest share of the image.
      aspect: Smallest and largest width over height.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """Draws a rectangle of an image; after `ATTEMPTS` that do not fit, the central square."""
        for _ in range(ATTEMPTS):
            aspect = rng.uniform(*self.aspect)
            lowest, highest = (round(math.sqrt(share * height * width / aspect)) for share in self.area)
            highest = min(highest, height, int((width + 0.5) / aspect))
            if highest < max(1, lowest):
                continue
            crop_height = int(rng.integers(max(1, lowest), highest + 1))
            crop_width = min(width, max(1, round(crop_height * aspect)))
            if self.area[0] <= crop_height * crop_width / (height * width) <= self.area[1]:
                left, top = rng.integers(0, width - crop_width + 1), rng.integers(0, height - crop_height + 1)
                return Box(int(left), int(top), crop_width, crop_height)
        return central_box(height, width, 1.0)


def central_box(height: int, width: int, fraction: float) -> Box:
    """Returns the central square of `fraction` of the shorter side."""
    top, left, side = images.crop_box(height, width, fraction)
    return Box(left, top, side, side)


def random_crop(content: bytes, name: str, side: int, crop: RandomCrop, rng: np.random.Generator) -> np.ndarray:
    """Decodes a random rectangle of an encoded image and resizes it to uint8 [side, side, 3], antialiased bicubic.

    Raises:
      UnreadableImageError: It cannot be decoded; the message calls it `name`.
    """
    with images.opened(io.BytesIO(content), name, lambda: not content) as image:
        box = crop.draw(*_upright_size(image), rng)
        return _resized(_cut(content, image, box, side * TRAINING_MARGIN), side)


def central_crop(content: bytes, name: str, side: int, fraction: float) -> np.ndarray:
    """Decodes the central square of `fraction` of the shorter side likewise, by the rule of `Preprocess`."""
    with images.opened(io.BytesIO(content), name, lambda: not content) as image:
        box = central_box(*_upright_size(image), fraction)
        return _resized(_cut(content, image, box, side * EVALUATION_MARGIN), side)


def _resized(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.BICUBIC))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns height and width of the image once it is turned as its EXIF tag says."""
    turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def _cut(content: bytes, image: Image.Image, box: Box, needed: int) -> Image.Image:
    """Decodes a rectangle at the smallest scale that leaves `needed` pixels of its shorter side."""
    scale = next((scale for scale in SCALES if min(box.width, box.height) >= scale * needed), 1)
    height, width = -(-image.height // scale), -(-image.width // scale)
    if image.format == "JPEG" and image.getexif().get(_ORIENTATION) in _UPRIGHT:
        # The same library as Pillow's, without Pillow's copies. It refuses what is damaged or in unusual colours.
        with contextlib.suppress(ValueError):
            pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width)
            left, top, right, bottom = box.scaled(pixels.shape[0] / image.height, pixels.shape[1] / image.width)
            return Image.fromarray(pixels[top:bottom, left:right])
    upright_height, upright_width = _upright_size(image)
    if scale > 1:
        image.draft("RGB", (image.width // scale, image.height // scale))  # does nothing but for JPEG
    image = ImageOps.exif_transpose(image)
    # Cut out before it is resized: Pillow's `box` would let the kernel reach beyond the crop.
    return images.as_rgb(image.crop(box.scaled(image.height / upright_height, image.width / upright_width)))
