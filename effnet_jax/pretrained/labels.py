"""Class names for imported weights."""

import importlib.resources
import pathlib

from effnet_jax.errors import UserError

_IMAGENET_FILE = "imagenet_classes.txt"
IMAGENET_CLASSES = 1000


def class_names(num_classes: int, path: str = "") -> list[str]:
    """Returns the names in the order of the logits.

    Args:
      num_classes: how many are wanted.
      path: file with one name a line; empty for ImageNet's at 1000 classes and numbers at any other count.

    Raises:
      UserError: the file cannot be read or holds another number of names.
    """
    if path:
        try:
            names = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()  # Windows begins with a mark
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the class names in {path} cannot be read ({error})") from error
        names = [name.strip() for name in names if name.strip()]
        if len(names) != num_classes:
            raise UserError(f"{path} holds {len(names)} class names but the weights have {num_classes} classes")
        return names
    if num_classes == IMAGENET_CLASSES:
        return imagenet()
    return [str(index) for index in range(num_classes)]


def imagenet() -> list[str]:
    """Returns the 1000 classes of ImageNet (ILSVRC 2012) in their usual order."""
    text = importlib.resources.files(__package__).joinpath(_IMAGENET_FILE).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]
