"""Reading image files of any common kind, and cutting and resizing what was read."""

import contextlib
import io
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from effnet_jax.errors import UserError

MAX_PIXELS = 178_956_970  # twice Pillow's warning limit: about 512 MB decoded; more is taken for a bomb


class UnreadableImageError(UserError):
    """One image file that cannot be used; the others can."""


def read_image(path: str | pathlib.Path) -> np.ndarray:
    """Decodes an image file to uint8 [H, W, 3].

    EXIF rotation is applied, grey and palette images become RGB, transparency is laid on white, and of
    an animation the first frame is taken.

    Raises:
      UnreadableImageError: no such file, no image, a truncated or an absurdly large one.
    """
    return _decode(path, str(path), lambda: pathlib.Path(path).stat().st_size == 0)


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Decodes an encoded image like `read_image`; errors call it `name`."""
    return _decode(io.BytesIO(content), name, lambda: not content)


def _decode(file: str | pathlib.Path | BinaryIO, name: str, is_empty: Callable[[], bool]) -> np.ndarray:
    with opened(file, name, is_empty) as image:
        return np.asarray(as_rgb(ImageOps.exif_transpose(image)))


@contextlib.contextmanager
def opened(
    file: str | pathlib.Path | BinaryIO, name: str, is_empty: Callable[[], bool] = lambda: False
) -> Iterator[Image.Image]:
    """Opens an image for a block that decodes it; nothing but its header is read before.

    Raises:
      UnreadableImageError: There, or in the block, the image turns out to be none, truncated or absurdly large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImageError(f"{name}: {image.width}x{image.height} pixels are too many")
                yield image
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"{name}: {'an empty file' if is_empty() else 'not an image'}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise unreadable(file, name, error) from error


def unreadable(file: str | pathlib.Path | BinaryIO, name: str, error: Exception) -> UnreadableImageError:
    """Returns the error that says why `file` could not be read."""
    if not isinstance(file, io.IOBase) and os.path.islink(file) and not os.path.exists(file):
        return UnreadableImageError(f"{name}: a broken link to {os.readlink(file)}")
    return UnreadableImageError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})")


def as_rgb(image: Image.Image) -> Image.Image:
    """Converts an image of any mode; transparency is laid on white."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey
        grey = (np.asarray(image, np.float32) / 257).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[..., None], 3, axis=-1))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(background, rgba)
    return image.convert("RGB")


def crop_box(height: int, width: int, crop_fraction: float) -> tuple[int, int, int]:
    """Returns top, left and side in pixels of an image's central square of `crop_fraction` of its shorter side."""
    side = max(1, round(crop_fraction * min(height, width)))
    return (height - side) // 2, (width - side) // 2, side


def central_square(
    image: np.ndarray, resolution: int, crop_fraction: float = 1.0, interpolation: str = "bicubic"
) -> np.ndarray:
    """Cuts out the central square of a uint8 [H, W, C] and resizes it, antialiased, "bicubic" (a = -0.5) or "bilinear".

    Returns:
      float32 [resolution, resolution, C] in 0..255, not rounded to whole levels.
    """
    top, left, side = crop_box(*image.shape[:2], crop_fraction)
    # Cut out first: Pillow's `box` would let the kernel reach beyond the crop.
    image = image[top : top + side, left : left + side]
    if side == resolution:
        return image.astype(np.float32)
    kernel = Image.Resampling[interpolation.upper()]
    channels = [
        # mode "F" resizes without rounding to whole grey levels in between
        np.asarray(Image.fromarray(image[..., c].astype(np.float32)).resize((resolution, resolution), kernel))
        for c in range(image.shape[2])
    ]
    return np.clip(np.stack(channels, axis=-1), 0.0, 255.0)


def stored_square(image: np.ndarray, side: int) -> np.ndarray:
    """Returns the central square of a uint8 [H, W, C] as uint8 [side, side, C], to be stored in its place."""
    return np.rint(central_square(image, side)).astype(np.uint8)
