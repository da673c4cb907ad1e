"""What a loaded dataset is made of, and which of its examples are held out."""

import dataclasses

import numpy as np

from effnet_jax.data.registry import DatasetInfo


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, 3], maybe a read-only memory map, and their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A loaded dataset: its facts, a name for each label, and the splits "train", "validation", "test"."""

    info: DatasetInfo
    class_names: tuple[str, ...]
    splits: dict[str, Split]


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
