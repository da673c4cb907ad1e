"""A dataset as a folder of images: which file belongs to which split and class. Nothing is decoded here.

Two layouts are known, with class names from the names of the folders, in order of their code points:

    PATH/train/<class>/*, PATH/val/<class>/*     (or "validation" or "test"; both "val" and "test" may be there)
    PATH/<class>/*

What PATH lacks is held out of its training images. A single second split is the test split, see `splits.by_role`.
"""

import dataclasses
from pathlib import Path

from effnet_jax.data.decode import image_files
from effnet_jax.data.disk import files
from effnet_jax.data.sets import splits
from effnet_jax.errors import UserError

PREFIX = "folder:"

_TRAIN = "train"
_MAX_NAMES_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Layout:
    """The images of a folder.

    Attributes:
      path: The folder.
      class_names: By label.
      splits: For "train" and, where the folder has them, "validation" and "test": the files with their
        labels, class by class, sorted by name.
      left_out: Files in the class folders, and beside them, that are not taken; hidden ones do not count.
    """

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[tuple[Path, int], ...]]
    left_out: tuple[Path, ...]

    def describe_left_out(self) -> str:
        """Returns a sentence that counts by kind the files that are not taken; nothing where there are none."""
        if not self.left_out:
            return ""
        return f"left out of {self.path}: {image_files.count_by_kind(self.path, self.left_out)}"

    def say_left_out(self) -> None:
        """Prints that sentence on stderr."""
        if self.left_out:
            files.say(self.describe_left_out())


def is_folder(name: str) -> bool:
    """Whether a dataset's name means a folder of images."""
    return name.startswith(PREFIX)


def find(name: str) -> Layout:
    """Lists the images of the dataset "folder:PATH".

    Raises:
      UserError: If there is no such folder, it has fewer than two classes, a class has no image, or the
        classes of two splits differ.
    """
    path = _path(name)
    if not path.is_dir():
        raise UserError(f"{name}: there is no folder {path}; give a folder of class folders with images")
    folders = _split_folders(path)
    classes = {split: _subfolders(folder) for split, folder in folders.items()}
    class_names = classes[_TRAIN]
    if len(class_names) < 2:
        found = f"only the class {class_names[0]!r}" if class_names else "no class folder"
        raise UserError(
            f"{folders[_TRAIN]} holds {found}: images lie in one folder a class, of which there are at least two"
        )
    for split, folder in folders.items():
        _check_same_classes(folders[_TRAIN], class_names, folder, classes[split])
    contents, left_out = {}, []
    for split, folder in folders.items():
        listings = [image_files.list_folder(folder / class_name) for class_name in class_names]
        contents[split] = tuple((file, label) for label, listing in enumerate(listings) for file in listing.images)
        left_out += [entry for entry in sorted(folder.iterdir()) if not entry.is_dir() and _is_visible(entry)]
        left_out += [file for listing in listings for file in listing.left_out]
    return Layout(path, class_names, contents, tuple(left_out))


def own_splits(name: str) -> tuple[str, ...]:
    """Returns which of "train", "validation" and "test" the dataset "folder:PATH" has of its own; lists no files.

    Raises:
      UserError: If two of its folders mean the same split.
    """
    return tuple(_split_folders(_path(name)))


def _path(name: str) -> Path:
    return Path(name.removeprefix(PREFIX)).expanduser().absolute()


def _split_folders(path: Path) -> dict[str, Path]:
    """Returns the folder of each split that `path` has of its own."""
    inside = _subfolders(path)
    if _TRAIN not in inside:
        return {_TRAIN: path}
    return {role: path / name for role, name in splits.by_role(inside, str(path)).items()}


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and _is_visible(path)))


def _is_visible(path: Path) -> bool:
    return not image_files.is_hidden(path.name)


def _check_same_classes(train: Path, expected: tuple[str, ...], folder: Path, found: tuple[str, ...]) -> None:
    for one, other, names in (
        (folder, train, sorted(set(expected) - set(found))),
        (train, folder, sorted(set(found) - set(expected))),
    ):
        if names:
            shown = ", ".join(names[:_MAX_NAMES_SHOWN]) + (", ..." if len(names) > _MAX_NAMES_SHOWN else "")
            raise UserError(
                f"{one} lacks {len(names)} of the classes of {other} ({shown}): both need the same class folders"
            )
