"""What people have as images, in files or in memory, as the pixels that a file of them would hold."""

import os
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from effnet_jax.data.decode.images import UnreadableImageError, as_rgb, decode_image, read_image
from effnet_jax.errors import UserError

COLOUR = 3
_LIKE_A_FILE = (1, COLOUR, 4)  # grey, colour, and colour with transparency

Input = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
_WANTED = "paths, the bytes of files, Pillow images, or uint8 arrays [height, width, 3] of values 0..255"


def as_list(images: Input | Iterable[Input]) -> list[Input]:
    """Returns images one by one: a single one, all of an array [N, H, W, C], or those of a list or another iterable.

    Raises:
      UserError: there is none, or an array has another number of dimensions.
    """
    if isinstance(images, str | os.PathLike | bytes | Image.Image) or hasattr(images, "read"):
        return [images]
    shape = getattr(images, "shape", None)
    if shape is not None and len(shape) != 1:  # one dimension: a column of paths
        if len(shape) not in (2, 3, 4):
            raise UserError(f"an array of images is [N, height, width, channels], not {list(shape)}")
        images = np.asarray(images)
        images = images if images.ndim == 4 else images[None]
    elif not isinstance(images, Iterable):
        raise UserError(f"images are {_WANTED}, not {type(images).__name__}")
    listed = list(images)
    if not listed:
        raise UserError("no image was given")
    return listed


def pixels(image: Input, channels: int = COLOUR) -> np.ndarray:
    """Returns one image as uint8 [H, W, 3], or [H, W, channels] where an array has them.

    Grey becomes colour, transparency is laid on white, and a Pillow image is turned as its EXIF tag says, as if all had
    been read from files.

    Args:
      image: a path, the bytes of an image file, an open one, a Pillow image, or an array uint8 [H, W], [H, W, 1],
        [H, W, 3], [H, W, 4] or [H, W, channels].
      channels: what the model takes.

    Raises:
      UnreadableImageError: what should be an image file is none.
      UserError: something else, or an array of another shape or of values other than uint8, as floats in 0..1.
    """
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    if hasattr(image, "shape"):
        return _of_array(np.asarray(image), channels)
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    content = image.read() if hasattr(image, "read") else image
    if not isinstance(content, bytes):
        raise UserError(f"images are {_WANTED}, not {type(image).__name__}")
    return decode_image(content, str(getattr(image, "name", f"an image of {len(content):,} bytes")))


def _of_pillow(image: Image.Image) -> np.ndarray:
    try:
        return np.asarray(as_rgb(ImageOps.exif_transpose(image)))
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow reads a file when its pixels are wanted
        raise UnreadableImageError(f"{getattr(image, 'filename', '') or 'a Pillow image'}: {error}") from error


def _of_array(array: np.ndarray, channels: int) -> np.ndarray:
    if array.dtype != np.uint8:
        advice = ": multiply what is 0..1 by 255, then .round().astype('uint8')" if array.dtype.kind == "f" else ""
        raise UserError(f"arrays of images are uint8 of values 0..255, not {array.dtype}{advice}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0 or array.shape[2] not in (channels, *_LIKE_A_FILE):
        raise UserError(
            f"an image is [height, width, {channels}] and a batch of them [N, height, width, {channels}], "
            f"but one was given of {list(array.shape)}"
        )
    if array.shape[2] == 1:
        return np.repeat(array, COLOUR, axis=2)
    if array.shape[2] in (channels, COLOUR):
        return array
    return np.asarray(as_rgb(Image.fromarray(array)))
