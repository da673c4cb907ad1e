"""A dataset as a folder of images: which file belongs to which split and class. Nothing is decoded here.

Two layouts are known, with class names from the names of the folders, in order of their code points:

    PATH/train/<class>/*, PATH/val/<class>/*     (or "validation" or "test"; both "val" and "test" may be there)
    PATH/<class>/*

The classes are those of the training images; "val" and "test" may lack images of some. A split that PATH lacks is held
out of its training images. A single second split is the test split, see `splits.by_role`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from effnet_jax.data.decode import image_files
from effnet_jax.data.disk import files
from effnet_jax.data.sets import splits
from effnet_jax.errors import UserError

PREFIX = "folder:"

_TRAIN = "train"
_NOTHING = image_files.Listing((), ())
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
      empty: Class folders of the training images without a file, which are no classes.
    """

    path: Path
    class_names: tuple[str, ...]
    splits: dict[str, tuple[tuple[Path, int], ...]]
    left_out: tuple[Path, ...]
    empty: tuple[str, ...]

    def remarks(self) -> list[str]:
        """Returns a sentence each on files that are not taken, by kind, and on classes that lack images."""
        found = []
        if self.left_out:
            found.append(f"left out of {self.path}: {image_files.count_by_kind(self.path, self.left_out)}")
        if self.empty:
            found.append(f"no class, since their folders are empty: {_shown(self.empty)}")
        for split, entries in self.splits.items():
            present = {label for _, label in entries}
            lacking = [name for label, name in enumerate(self.class_names) if label not in present]
            if lacking:
                found.append(
                    f"the {split} images of {self.path} are of {len(present)} of its {len(self.class_names)} classes; "
                    f"there are none of {_shown(lacking)}"
                )
        return found

    def say_remarks(self) -> None:
        """Prints these sentences on stderr."""
        for remark in self.remarks():
            files.say(remark)


def is_folder(name: str) -> bool:
    """Whether a dataset's name means a folder of images."""
    return name.startswith(PREFIX)


def find(name: str, skip_empty: bool = False) -> Layout:
    """Lists the images of the dataset "folder:PATH".

    Args:
      name: Of the dataset.
      skip_empty: Whether an empty class folder is passed over.

    Raises:
      UserError: If there is no such folder, it has fewer than two classes, one of them has no training image, or
        another split has classes that the training images have not.
    """
    path = _path(name)
    if not path.is_dir():
        raise UserError(f"{name}: there is no folder {path}; give a folder of class folders with images")
    folders = _split_folders(path)
    listings = {split: _listings(folder) for split, folder in folders.items()}
    empty = tuple(class_name for class_name, listing in listings[_TRAIN].items() if not listing.images)
    if empty and not skip_empty:
        raise UserError(
            f"{folders[_TRAIN]} has {len(empty)} class folders without an image ({_shown(empty)}): add images or "
            "remove them, or pass over them with --config.dataset.broken_images=skip"
        )
    class_names = tuple(class_name for class_name in listings[_TRAIN] if class_name not in empty)
    if len(class_names) < 2:
        found = f"only the class {class_names[0]!r}" if class_names else "no class folder"
        raise UserError(
            f"{folders[_TRAIN]} holds {found}: images lie in one folder a class, of which there are at least two"
        )
    contents, left_out = {}, []
    for split, folder in folders.items():
        _check_classes(folders[_TRAIN], class_names, folder, listings[split])
        contents[split] = tuple(
            (file, label)
            for label, class_name in enumerate(class_names)
            for file in listings[split].get(class_name, _NOTHING).images
        )
        left_out += [entry for entry in sorted(folder.iterdir()) if not entry.is_dir() and _is_visible(entry)]
        left_out += [file for listing in listings[split].values() for file in listing.left_out]
    return Layout(path, class_names, contents, tuple(left_out), empty)


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


def _listings(folder: Path) -> dict[str, image_files.Listing]:
    """Returns the files of each class folder, in the order of their names."""
    return {name: image_files.list_folder(folder / name, may_be_empty=True) for name in _subfolders(folder)}


def _is_visible(path: Path) -> bool:
    return not image_files.is_hidden(path.name)


def _check_classes(train: Path, known: tuple[str, ...], folder: Path, found: dict[str, image_files.Listing]) -> None:
    unknown = [name for name, listing in found.items() if listing.images and name not in known]
    if unknown:
        raise UserError(
            f"{train} has no images of {len(unknown)} of the classes of {folder} ({_shown(unknown)}): what a network "
            "is not trained on it cannot tell, so add some or remove these classes"
        )
    if not any(listing.images for listing in found.values()):
        raise UserError(f"{folder} has no image of any class: add some, or remove it to hold training images out")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (", ..." if len(names) > _MAX_NAMES_SHOWN else "")
