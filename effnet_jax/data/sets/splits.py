"""What a loaded dataset is made of, and which of its examples are held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from effnet_jax.data.sets.registry import DatasetInfo
from effnet_jax.errors import UserError

if TYPE_CHECKING:
    from effnet_jax.data.decode.encoded import EncodedSplit  # needs Pillow


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, 3], maybe a read-only memory map, and their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def part(self, where: slice) -> Split:
        """Returns some of the images as a split."""
        return Split(self.images[where], self.labels[where])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A loaded dataset.

    Attributes:
      info: Its facts.
      class_names: By label.
      splits: "train", "test" and, unless `validation_examples` is 0, "validation": decoded, or all encoded.
      crop_fraction: Side of the central square of an original image that evaluation sees, as a share of the shorter
        side.
    """

    info: DatasetInfo
    class_names: tuple[str, ...]
    splits: dict[str, Split | EncodedSplit]
    crop_fraction: float = 1.0

    def split(self, name: str) -> Split | EncodedSplit:
        """Returns a split by its name.

        Raises:
          UserError: Nothing was held out for it.
        """
        if name not in self.splits:
            raise UserError(
                f"of {self.info.name} no {name} images were held out (dataset.validation_examples is 0): choose "
                f"{' or '.join(self.splits)}"
            )
        return self.splits[name]


_VALIDATION = ("val", "valid", "validation")


def by_role(names: Iterable[str], where: str) -> dict[str, str]:
    """Returns which of a dataset's own splits are "train", "validation" and "test".

    A single second split, whatever its name, is the test split, as with ImageNet's "validation": what selects a model
    must not be what it is judged by.

    Args:
      names: Of all its splits.
      where: What errors call the dataset.

    Raises:
      UserError: If two of them mean the same.
    """
    names = sorted(names)
    validation = [name for name in names if name in _VALIDATION]
    if len(validation) > 1:
        raise UserError(f"{where} has {' and '.join(validation)}, which mean the same split: leave one of them")
    roles = {name: name for name in ("train", "test") if name in names}
    if validation:
        roles["validation" if "test" in roles else "test"] = validation[0]
    return {role: roles[role] for role in ("train", "validation", "test") if role in roles}


def take_validation(
    name: str, train: Split | EncodedSplit, validation_examples: int
) -> dict[str, Split | EncodedSplit]:
    """Splits official training images, in their stratified order, into "train" and "validation".

    Of 0 examples there is no validation split.

    Raises:
      UserError: If so many examples cannot be held out.
    """
    if not validation_examples:
        return {"train": train}
    num_present = len(np.unique(train.labels))
    largest = len(train.labels) - num_present
    if not num_present <= validation_examples <= largest:
        raise UserError(
            f"validation_examples={validation_examples} cannot be held out of the {len(train.labels)} training "
            f"images of {name}: choose a number from {num_present}, one a class, to {largest}, "
            "or 0 to train on all and select nothing"
        )
    count = validation_examples
    return {"train": train.part(slice(count, None)), "validation": train.part(slice(0, count))}


def hold_out(
    name: str, splits: dict[str, Split | EncodedSplit], num_classes: int, fraction: float, validates: bool
) -> dict[str, Split | EncodedSplit]:
    """Takes what a dataset does not bring from the front of its training split, "validation" first.

    Args:
      name: What configs call the dataset.
      splits: "train", in its stratified order, and what else there is.
      num_classes: Of the dataset.
      fraction: Share of the training images for each split that is missing.
      validates: Whether there is to be a validation split.

    Raises:
      UserError: If the training split would lack a class.
    """
    train = splits["train"]
    total, start = len(train.labels), 0
    count = max(1, round(fraction * total))
    held_out = {}
    for split in ("validation", "test") if validates else ("test",):
        if split in splits:
            held_out[split] = splits[split]
        else:
            held_out[split] = train.part(slice(start, start + count))
            start += count
    left = train.part(slice(start, None))
    missing = num_classes - len(np.unique(left.labels))
    if missing:
        raise UserError(
            f"{min(start, total)} of the {total} training images of {name} are held out, and {missing} classes have "
            f"none left: add images, or lower --config.dataset.held_out_fraction ({fraction})"
        )
    return {"train": left, **held_out}


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Returns an order of the examples, int64 [N], every prefix of which is a stratified sample.

    A prefix of n examples holds n * N_c / N of class c, up to rounding, chosen at random among the class: an
    example of rank r (from 0) among the N_c of its class stands at the fraction (r + 1/2) / N_c of the order.
    Ranks and ties follow a hash of the position rather than a random generator, since NumPy keeps the streams
    of its generators only within a version.

    Args:
      labels: int [N].
    """
    keys = _splitmix64(np.arange(len(labels), dtype=np.uint64))
    shuffled = np.lexsort((keys, labels))  # class by class, at random within each
    _, first, class_of, counts = np.unique(labels[shuffled], return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(labels)) - first[class_of]
    fraction = (2 * rank + 1) / (2 * counts[class_of])
    return shuffled[np.lexsort((keys[shuffled], fraction))]


def _splitmix64(values: np.ndarray) -> np.ndarray:
    """The hash in the SplitMix64 generator (Steele, Lea & Flood 2014), uint64 [N] -> uint64 [N]."""
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
