"""Photographs decoded once and kept on disk, so that a crop costs no more than its resizing."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from effnet_jax.data.decode import crops
from effnet_jax.data.decode.encoded import EncodedSplit
from effnet_jax.data.disk import cache, files

_IMAGES_A_CORE = 4  # decoded at a time and then written: few enough for any memory


@dataclasses.dataclass(frozen=True)
class DecodedStore:
    """Decoded images, one after the other in one file; see `encoded.Store`.

    Attributes:
      file: Of their pixels, .npy of uint8.
      sizes: Their heights and widths, int32 [N, 2].
      names: Of the files that they came from.
    """

    file: Path
    sizes: np.ndarray
    names: tuple[str, ...]

    def __reduce__(self):
        return DecodedStore, (self.file, self.sizes, self.names)  # not the map, which would be copied whole

    def read(self, number: int) -> tuple[np.ndarray, str]:
        """See `encoded.Store`."""
        pixels = self._pixels[self._starts[number] : self._starts[number + 1]]
        return pixels.reshape(*self.sizes[number], 3), f"{self.file}: image {number}"

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        return np.load(self.file, mmap_mode="r").view(np.ndarray)

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        return np.append(0, np.cumsum(_num_bytes(self.sizes)))


def keep(splits: dict[str, EncodedSplit], folder: Path, name: str) -> dict[str, EncodedSplit]:
    """Returns the splits with their images decoded, into the cache `folder` where they are not there yet.

    Crops that are not cut at a reduced size equal those of the encoded images to the bit.

    Args:
      splits: Encoded.
      folder: Its name changes when they do.
      name: What progress calls them.

    Raises:
      UnreadableImageError: One cannot be decoded.
      UserError: The disk lacks the room, or the folder cannot be written; nothing is left behind then.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        kept = cache.read_or_make(folder, lambda: _decode(splits, name, pool), f"decoding {name} again")
    return {
        split: dataclasses.replace(
            content,
            store=DecodedStore(cache.images_file(folder, split), kept.splits[split][1], content.store.names),
            numbers=np.arange(len(content)),
        )
        for split, content in splits.items()
    }


def _decode(splits: dict[str, EncodedSplit], name: str, pool: ThreadPoolExecutor) -> cache.Cached:
    """Returns pixels, to be decoded while they are written, and sizes, so that the room they take is known before."""
    arrays = {}
    for split, content in splits.items():
        sizes = _sizes(content, f"{split} images of {name}", pool)
        total = int(_num_bytes(sizes).sum())
        label = f"decoding {split} images of {name}, once, into {total / 2**30:.2f} GiB"
        arrays[split] = (cache.Pieces((total,), np.dtype(np.uint8), _pixels(content, label, pool)), sizes)
    return cache.Cached((), arrays, name)


def _num_bytes(sizes: np.ndarray) -> np.ndarray:
    return sizes.astype(np.int64).prod(axis=1) * 3


def _sizes(split: EncodedSplit, what: str, pool: ThreadPoolExecutor) -> np.ndarray:
    def size(index: int) -> tuple[int, int]:
        encoded = split[index]
        return crops.upright_size(encoded.content, encoded.name)

    sizes = np.empty((len(split), 2), np.int32)
    with files.Progress(f"sizes of the {what}", len(split), "images") as progress:
        for index, found in enumerate(pool.map(size, range(len(split)))):
            sizes[index] = found
            progress.advance(1)
    return sizes


def _pixels(split: EncodedSplit, label: str, pool: ThreadPoolExecutor) -> Iterator[np.ndarray]:
    def decode(index: int) -> np.ndarray:
        encoded = split[index]
        return crops.decode(encoded.content, encoded.name)

    step = _IMAGES_A_CORE * os.cpu_count()
    with files.Progress(label, len(split), "images") as progress:
        for start in range(0, len(split), step):
            for pixels in pool.map(decode, range(start, min(start + step, len(split)))):
                yield pixels.reshape(-1)
                progress.advance(1)
