"""The images to explain: files, or a sample of the split that a checkpoint was tested on."""

import dataclasses
import glob
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from effnet_jax.data.decode.image_files import find_images
from effnet_jax.data.decode.images import UnreadableImageError, read_image
from effnet_jax.errors import UserError
from effnet_jax.inference.classifier import Classifier
from effnet_jax.training.evaluation import load_dataset


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
      name: unique in a call, fit for a file name.
      source: what it is called in `cam.json`: a path, or "test/123" for an image of a split.
      pixels: uint8 [H, W, 3].
      label: the index of its true class, where that is known.
    """

    name: str
    source: str
    pixels: np.ndarray
    label: int | None = None


def from_files(inputs: Sequence[str]) -> tuple[list[Picture], list[str]]:
    """Reads files, folders and glob patterns.

    Returns:
      The pictures, and a sentence about each file that cannot be read.

    Raises:
      UserError: a folder without images, a pattern without a match, or not one readable image.
    """
    pictures, failures = [], []
    for index, path in enumerate(find_images(_expanded(inputs))):
        try:
            pictures.append(Picture(f"{index:03d}_{path.stem}", str(path), read_image(path)))
        except UnreadableImageError as error:
            failures.append(str(error))
    if not pictures:
        raise UserError(f"not one of the images can be read: {failures[0]}")
    return pictures, failures


def _expanded(inputs: Sequence[str]) -> list[str]:
    found = []
    for text in inputs:
        if glob.has_magic(text) and not pathlib.Path(text).exists():
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                raise UserError(f"no file matches {text}")
            found += matches
        else:
            found.append(text)
    return found


def from_split(net: Classifier, split: str, count: int, seed: int, data_dir: str | None = None) -> list[Picture]:
    """Draws images, none twice, from a split of the data set that `net` was trained on.

    The first of a larger sample are the smaller sample.

    Raises:
      UserError: the checkpoint names no data set, or it cannot be had.
    """
    if "config" not in net.metadata:
        raise UserError("the checkpoint holds imported weights, which name no data set: say which --images")
    options = ml_collections.ConfigDict(net.metadata["config"]["dataset"])
    if data_dir is not None:
        options.data_dir = data_dir
    data = load_dataset(options).split(split)
    chosen = np.random.default_rng(seed).permutation(len(data.labels))[:count]
    return [
        Picture(f"{split}_{index:05d}", f"{split}/{index}", np.asarray(data.images[index]), int(data.labels[index]))
        for index in chosen.tolist()
    ]
