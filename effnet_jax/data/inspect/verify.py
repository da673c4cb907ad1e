"""Looks at every image of a dataset: unreadable files, wrong sizes, duplicates, balance, mean and deviation."""

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from effnet_jax.data.decode.images import UnreadableImageError
from effnet_jax.data.disk import files
from effnet_jax.data.inspect.entries import Entry, Source

IMBALANCE = 10.0  # a largest class of more than so many times the smallest counts as a problem
STATISTICS_TOLERANCE = 1e-3  # of mean and deviation against the recorded ones

SAMPLE_SIDE = 64  # pixels that samples have at least, where the images do

_IMAGES_AT_A_TIME = 256


@dataclasses.dataclass
class SplitFindings:
    """What was found in one split.

    Attributes:
      counts: Readable images by class name.
      unreadable: A sentence an image, or a file of records, that cannot be decoded.
      wrong_size: "name: HxW" for each image of another size than the dataset's; nothing where each has its own.
      sizes: Number of images by (height, width).
      names: Names of the images by digest of their pixels and size.
      labels: Labels by the same.
      levels: int64 [3, 256], how often each channel takes each level.
      samples: The first images of each class, uint8 [H, W, 3].
    """

    counts: dict[str, int]
    unreadable: list[str] = dataclasses.field(default_factory=list)
    wrong_size: list[str] = dataclasses.field(default_factory=list)
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    names: dict[bytes, list[str]] = dataclasses.field(default_factory=dict)
    labels: dict[bytes, set[int]] = dataclasses.field(default_factory=dict)
    levels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((3, 256), np.int64))
    samples: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of images that can be decoded."""
        return sum(self.counts.values())

    @property
    def repeats(self) -> int:
        """Images that are there already: all but the first of each group of equal ones."""
        return self.images - len(self.names)

    @property
    def mean(self) -> np.ndarray:
        """Of each channel over all pixels, as a fraction of 255, float64 [3]."""
        return self.levels @ (np.arange(256) / 255) / max(1, self.levels[0].sum())

    @property
    def std(self) -> np.ndarray:
        """Standard deviation, likewise."""
        squares = self.levels @ (np.arange(256) / 255) ** 2 / max(1, self.levels[0].sum())
        return np.sqrt(np.maximum(squares - self.mean**2, 0))


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found in a dataset.

    Attributes:
      source: The dataset.
      splits: By name.
    """

    source: Source
    splits: dict[str, SplitFindings]

    def shared(self) -> dict[tuple[str, str], list[bytes]]:
        """Returns, for each pair of splits, the digests of the images that both hold."""
        return {
            (one, other): [digest for digest in self.splits[one].names if digest in self.splits[other].names]
            for one, other in itertools.combinations(self.splits, 2)
        }

    def contradictions(self) -> list[list[str]]:
        """Returns groups of equal images, as "split/name", that carry different labels."""
        labels, names = collections.defaultdict(set), collections.defaultdict(list)
        for split, found in self.splits.items():
            for digest in found.names:
                labels[digest] |= found.labels[digest]
                names[digest] += [f"{split}/{name}" for name in found.names[digest]]
        return [names[digest] for digest in labels if len(labels[digest]) > 1]

    def problems(self) -> list[str]:
        """Returns a sentence for everything that is wrong."""
        found = [problem for split in self.splits for problem in self._problems_of(split)]
        found += [
            f"{one} and {other}: {len(both)} images in both" for (one, other), both in self.shared().items() if both
        ]
        contradictions = self.contradictions()
        if contradictions:
            found.append(f"{len(contradictions)} images occur with different labels")
        return found

    def _problems_of(self, split: str) -> Iterator[str]:
        found, facts = self.splits[split], self.source.facts
        if found.unreadable:
            yield f"{split}: {len(found.unreadable)} unreadable"
        if found.wrong_size:
            yield f"{split}: {len(found.wrong_size)} of a wrong size"
        if found.repeats:
            yield f"{split}: {found.repeats} repeats of images of the same split"
        smallest, largest = min(found.counts.values()), max(found.counts.values())
        if smallest == 0:
            empty = [name for name, count in found.counts.items() if not count]
            yield f"{split}: {len(empty)} classes without an image, {empty[0]!r} for one"
        elif largest > IMBALANCE * smallest:
            yield f"{split}: classes of {smallest} to {largest} images"
        if facts is None:
            return
        if found.images + len(found.unreadable) != facts.split_sizes[split]:
            yield f"{split}: {found.images:,} images, officially {facts.split_sizes[split]:,}"
        elif split == "train" and facts.image_size is not None:
            for what, ours, recorded in (("mean", found.mean, facts.mean), ("deviation", found.std, facts.std)):
                if np.abs(ours - recorded).max() > STATISTICS_TOLERANCE:
                    yield f"{split}: {what} {np.round(ours, 4).tolist()}, recorded {np.round(recorded, 4).tolist()}"


def verify(source: Source, samples_per_class: int) -> Findings:
    """Decodes every image of a dataset, in parallel.

    Two images are equal when their pixels and their size are, whatever their files.

    Args:
      source: The dataset.
      samples_per_class: Images of each class and split that are kept for the eye.
    """
    splits = {}
    with files.Progress(f"looking at {source.name}", sum(source.sizes.values()), "images") as progress:
        for split in source.sizes:
            splits[split] = _look_at(source, split, samples_per_class, progress)
    return Findings(source, splits)


def _look_at(source: Source, split: str, samples_per_class: int, progress: files.Progress) -> SplitFindings:
    found = SplitFindings(dict.fromkeys(source.class_names, 0))
    found.samples = {name: [] for name in source.class_names}
    entries = source.entries(split)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(itertools.islice(entries, _IMAGES_AT_A_TIME)):
            for entry, result in zip(chunk, pool.map(_measure, chunk)):
                _add(found, source, entry, result, samples_per_class)
                progress.advance(1)
    return found


@dataclasses.dataclass(frozen=True)
class _Measured:
    """One decoded image: its pixels, a digest of them, and the counts of levels int64 [3, 256]."""

    pixels: np.ndarray
    digest: bytes
    levels: np.ndarray


def _measure(entry: Entry) -> _Measured | UnreadableImageError:
    try:
        pixels = np.ascontiguousarray(entry.pixels())
    except UnreadableImageError as error:
        return error
    digest = hashlib.blake2b(pixels.data, digest_size=16, person=f"{pixels.shape[0]}x{pixels.shape[1]}".encode())
    offset = pixels.reshape(-1, 3) + np.array([0, 256, 512], np.int64)
    return _Measured(pixels, digest.digest(), np.bincount(offset.ravel(), minlength=768).reshape(3, 256))


def _add(
    found: SplitFindings,
    source: Source,
    entry: Entry,
    result: _Measured | UnreadableImageError,
    samples_per_class: int,
) -> None:
    if isinstance(result, UnreadableImageError):
        found.unreadable.append(str(result))
        return
    class_name, size = source.class_names[entry.label], result.pixels.shape[:2]
    found.counts[class_name] += 1
    found.sizes[size] += 1
    if source.facts is not None and source.facts.image_size not in (None, size):
        found.wrong_size.append(f"{entry.name}: {size[0]}x{size[1]}")
    found.names.setdefault(result.digest, []).append(entry.name)
    found.labels.setdefault(result.digest, set()).add(entry.label)
    found.levels += result.levels
    if len(found.samples[class_name]) < samples_per_class:
        step = max(1, min(size) // SAMPLE_SIDE)  # of a photograph no more is kept than the picture shows
        found.samples[class_name].append(result.pixels[::step, ::step].copy())
