"""Crops of photographs that are decoded for one use: drawn at random for training, central for evaluation.

A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves enough pixels: its decoder
then skips most of the inverse cosine transform.
"""

import dataclasses
import io
import math

import numpy as np
from PIL import Image, ImageOps

from effnet_jax.data import images

ATTEMPTS = 10
SCALES = (8, 4, 2)
# How many times the pixels of its result a crop keeps when it is decoded at reduced size. For training as many are
# enough; evaluation takes twice as many, so that its figures are those of a whole decode.
TRAINING_MARGIN, EVALUATION_MARGIN = 1, 2

_ORIENTATION = 0x0112  # EXIF
_TURNED = (5, 6, 7, 8)  # its values that swap height and width


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


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
        height, width = _upright_size(image)
        return _cut(image, crop.draw(height, width, rng), side, TRAINING_MARGIN)


def central_crop(content: bytes, name: str, side: int, fraction: float) -> np.ndarray:
    """Decodes the central square of `fraction` of the shorter side likewise, by the rule of `Preprocess`."""
    with images.opened(io.BytesIO(content), name, lambda: not content) as image:
        return _cut(image, central_box(*_upright_size(image), fraction), side, EVALUATION_MARGIN)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns height and width of the image once it is turned as its EXIF tag says."""
    turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def _cut(image: Image.Image, box: Box, side: int, margin: int) -> np.ndarray:
    height, _ = _upright_size(image)
    for scale in SCALES:
        if min(box.width, box.height) >= scale * side * margin:
            image.draft("RGB", (image.width // scale, image.height // scale))  # does nothing but for JPEG
            break
    image = ImageOps.exif_transpose(image)
    scale = image.height / height
    left, top = round(scale * box.left), round(scale * box.top)
    right, bottom = round(scale * (box.left + box.width)), round(scale * (box.top + box.height))
    # Cut out first: Pillow's `box` would let the kernel reach beyond the crop.
    image = image.crop((left, top, right, bottom))
    return np.asarray(images.as_rgb(image).resize((side, side), Image.BICUBIC))
