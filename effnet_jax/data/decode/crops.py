"""Crops of photographs that are decoded for one use: drawn at random for training, central for evaluation.

A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves enough pixels: its decoder
then skips most of the inverse cosine transform. An image that was decoded before, to a uint8 [H, W, 3], is cut
likewise, averaged over blocks of as many pixels.
"""

import contextlib
import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from effnet_jax.data.decode import images

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


def random_crop(
    content: bytes | np.ndarray, name: str, side: int, crop: RandomCrop, rng: np.random.Generator
) -> np.ndarray:
    """Cuts a random rectangle of an image and resizes it to uint8 [side, side, 3], antialiased bicubic.

    Args:
      content: The image, encoded or as uint8 [H, W, 3].
      name: What the message of an error calls it.
      side: Of the result, in pixels.
      crop: Which rectangles there are.
      rng: Chooses one.

    Raises:
      UnreadableImageError: It cannot be decoded.
    """
    return _crop(content, name, side, TRAINING_MARGIN, lambda height, width: crop.draw(height, width, rng))


def central_crop(content: bytes | np.ndarray, name: str, side: int, fraction: float) -> np.ndarray:
    """Cuts the central square of `fraction` of the shorter side likewise, by the rule of `Preprocess`."""
    return _crop(content, name, side, EVALUATION_MARGIN, lambda height, width: central_box(height, width, fraction))


def decode(content: bytes, name: str) -> np.ndarray:
    """Decodes a whole image, upright, to uint8 [H, W, 3].

    Raises:
      UnreadableImageError: It cannot be decoded.
    """
    with _opened(content, name) as image:
        height, width = _upright_size(image)
        return np.asarray(_cut(content, image, Box(0, 0, width, height), 1))


def upright_size(content: bytes, name: str) -> tuple[int, int]:
    """Returns height and width that `decode` would give, from the header alone.

    Raises:
      UnreadableImageError: There is none.
    """
    with _opened(content, name) as image:
        return _upright_size(image)


def _crop(
    content: bytes | np.ndarray, name: str, side: int, margin: int, place: Callable[[int, int], Box]
) -> np.ndarray:
    if isinstance(content, np.ndarray):
        box = place(*content.shape[:2])
        cut = _cut_decoded(content, box, _scale(box, side * margin))
    else:
        with _opened(content, name) as image:
            box = place(*_upright_size(image))
            cut = _cut(content, image, box, _scale(box, side * margin))
    return np.asarray(cut.resize((side, side), Image.BICUBIC))


def _opened(content: bytes, name: str) -> contextlib.AbstractContextManager[Image.Image]:
    return images.opened(io.BytesIO(content), name, lambda: not content)


def _scale(box: Box, needed: int) -> int:
    """Returns by what to divide the size of an image so that `needed` pixels of the box's shorter side are left."""
    return next((scale for scale in SCALES if min(box.width, box.height) >= scale * needed), 1)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns height and width of the image once it is turned as its EXIF tag says."""
    turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def _cut_decoded(pixels: np.ndarray, box: Box, scale: int) -> Image.Image:
    left, top, right, bottom = box.scaled(1.0, 1.0)
    piece = Image.fromarray(pixels[top:bottom, left:right])
    return piece if scale == 1 else piece.reduce(scale)


def _cut(content: bytes, image: Image.Image, box: Box, scale: int) -> Image.Image:
    """Decodes a rectangle at an integer fraction of its size."""
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
