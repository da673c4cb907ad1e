"""Finding image files, without opening them."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from effnet_jax.errors import UserError

# The names of pictures that Pillow decodes by itself. Not .heic, which needs a plug-in, and not what Pillow knows by
# name only or by other programs (.eps, .h5, .mpeg, .wmf).
EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".tif",
    ".tiff", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico", ".icns",
    ".pcx", ".qoi", ".dds", ".psd", ".sgi",
)  # fmt: skip

_BROKEN, _LINKED = "broken link(s)", "link(s) to folders"  # kinds of what is left out
_MAX_LINKS_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds, subfolders included and hidden ones not.

    Attributes:
      images: Sorted. A broken link that is called like an image is among them: reading it says so.
      left_out: All other files, and links to folders, which are not followed; sorted.
    """

    images: tuple[pathlib.Path, ...]
    left_out: tuple[pathlib.Path, ...]


def find_images(inputs: Sequence[str | pathlib.Path]) -> list[pathlib.Path]:
    """Lists files as given and the images of folders, sorted, subfolders included.

    A path that does not exist stays in the list: reading it says so.

    Raises:
      UserError: a folder without a single image, or one that cannot be read.
    """
    found = []
    for path in map(pathlib.Path, inputs):
        found += list_folder(path).images if path.is_dir() else [path]
    return found


def list_folder(folder: pathlib.Path, may_be_empty: bool = False) -> Listing:
    """Lists the files of a folder.

    Raises:
      UserError: it holds no image, and no other file either unless it `may_be_empty`, or cannot be read.
    """
    files = sorted(_walk(folder))
    images = tuple(path for path in files if is_image(path) and not path.is_dir())
    left_out = tuple(path for path in files if not is_image(path) or path.is_dir())
    if not images and (left_out or not may_be_empty):
        what = f"only {count_by_kind(folder, left_out)}: convert them to JPEG or PNG" if left_out else "nothing"
        raise UserError(f"no image in the folder {folder}, which holds {what}")
    return Listing(images, left_out)


def is_image(path: pathlib.Path) -> bool:
    """Whether a file is called like an image."""
    return path.suffix.lower() in EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one of a system's own: a hidden one, or what macOS adds to a zip archive."""
    return name.startswith(".") or name == "__MACOSX"


def count_by_kind(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> str:
    """Returns how many files of each kind there are, most first, such as "3 .heic, 1 broken link (ape/0.txt)".

    Args:
      folder: Links are named by their paths inside it.
      paths: Files that are not taken as images of a class.
    """
    kinds = collections.defaultdict(list)
    for path in paths:
        kinds[_kind(path)].append(path)
    counts = []
    for kind, members in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        counts.append(f"{len(members)} {kind}" + (_names(folder, members) if kind in (_BROKEN, _LINKED) else ""))
    return ", ".join(counts)


def _kind(path: pathlib.Path) -> str:
    if path.is_dir():
        return _LINKED
    if path.is_symlink() and not path.exists():
        return _BROKEN
    if is_image(path):  # in its place it would have been taken
        return "image(s) in no class folder"
    return path.suffix.lower() or "without an extension"


def _names(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> str:
    shown = [str(path.relative_to(folder)) for path in paths[:_MAX_LINKS_SHOWN]]
    return f" ({', '.join(shown)}{', ...' if len(paths) > len(shown) else ''})"


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    try:
        with os.scandir(folder) as inside:
            entries = [entry for entry in inside if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read ({error.strerror}): change its permissions") from error
    for entry in entries:
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        else:
            yield path
