"""Reading image files of any common kind."""

import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from effnet_jax.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 178_956_970  # twice Pillow's warning limit: about 512 MB decoded; more is taken for a bomb


class UnreadableImageError(UserError):
    """One image file that cannot be used; the others can."""


def read_image(path: str | pathlib.Path) -> np.ndarray:
    """Decodes an image to uint8 [H, W, 3].

    EXIF rotation is applied, grey and palette images become RGB, transparency is laid on white, and of
    an animation the first frame is taken.

    Raises:
      UnreadableImageError: no such file, no image, a truncated or an absurdly large one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableImageError(f"{path}: {image.width}x{image.height} pixels are too many")
                image.load()
                return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        empty = pathlib.Path(path).stat().st_size == 0
        raise UnreadableImageError(f"{path}: {'an empty file' if empty else 'not an image'}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{path}: too many pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImageError(f"{path}: cannot be read ({reason})") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits of grey
        return np.repeat((np.asarray(image, np.float32) / 257).astype(np.uint8)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(background, rgba)
    return np.asarray(image.convert("RGB"))


def find_images(inputs: Sequence[str | pathlib.Path]) -> list[pathlib.Path]:
    """Lists files as given and the images of folders, sorted, subfolders included.

    A path that does not exist stays in the list: reading it says so.

    Raises:
      UserError: a folder without a single image.
    """
    found = []
    for path in map(pathlib.Path, inputs):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
            if not inside:
                raise UserError(f"no image in the folder {path} ({', '.join(EXTENSIONS)})")
            found += inside
        else:
            found.append(path)
    return found
