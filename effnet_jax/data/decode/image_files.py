"""Finding image files, without opening them."""

import pathlib
from collections.abc import Sequence

from effnet_jax.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


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
