"""Splits that stay encoded on disk and are read one image at a time; nothing here imports JAX.

What is here is sent to worker processes, so it holds paths and numbers, never open files.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.decode.crops import RandomCrop
from effnet_jax.data.disk import tfrecord
from effnet_jax.data.disk.descriptions import Prepared


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are cut out of photographs; the keys of config.dataset.

    Attributes:
      training_side: Side in pixels of the random crops of training.
      evaluation_side: Side of the central squares of evaluation.
      crop_fraction: Share of the shorter side that such a square keeps.
      random_crop: Rectangles of training.
      num_workers: Processes that decode; 0 for threads of this one.
    """

    training_side: int
    evaluation_side: int
    crop_fraction: float
    random_crop: RandomCrop
    num_workers: int


class Store(Protocol):
    """Encoded images by number.

    Attributes:
      names: Of the files, wherever they lie.
    """

    names: tuple[str, ...]

    def read(self, number: int) -> tuple[bytes | np.ndarray, str]:
        """Returns an image, encoded or as uint8 [H, W, 3], and what to call it."""


@dataclasses.dataclass(frozen=True)
class FileStore:
    """Image files of a folder.

    Attributes:
      folder: The folder.
      names: Paths inside it.
    """

    folder: Path
    names: tuple[str, ...]

    def read(self, number: int) -> tuple[bytes, str]:
        """See `Store`.

        Raises:
          UnreadableImageError: The file is not there or may not be read.
        """
        path = self.folder / self.names[number]
        try:
            return path.read_bytes(), str(path)
        except OSError as error:
            raise images.unreadable(path, str(path), error) from error


class RecordStore:
    """Records of a split that TFDS prepared.

    They are numbered through all files of the split: ArrayRecord counts records, TFRecord the bytes before them.
    """

    def __init__(self, prepared: Prepared, split: str):
        shards = [path for path, _ in prepared.shards[split]]
        if prepared.record_format == "tfrecord":
            self._records = tfrecord.Files(shards)
        else:
            from array_record.python.array_record_data_source import ArrayRecordDataSource

            self._records = ArrayRecordDataSource(list(map(str, shards)))  # picklable; opens files when asked
        self._feature = prepared.image_feature
        self._folder, self._split = shards[0].parent, shards[0].name.partition(".")[0]
        self.names = tuple(path.name for path in shards)

    def read(self, number: int) -> tuple[bytes, str]:
        """See `Store`.

        Raises:
          UnreadableImageError: A TFRecord file is not there, or damaged at this place.
        """
        from tensorflow_datasets.proto import tf_example_pb2  # all of TFDS that is needed here

        name = f"{self._folder}: record {number} of {self._split}"
        try:
            record = self._records[number]
        except (OSError, ValueError) as error:
            raise images.UnreadableImageError(f"{name}: cannot be read ({error})") from error
        feature = tf_example_pb2.Example.FromString(record).features.feature
        (image,) = feature[self._feature].bytes_list.value
        return image, name


@dataclasses.dataclass(frozen=True)
class Encoded:
    """One image: its bytes or pixels, what to call it, and its label."""

    content: bytes | np.ndarray
    name: str
    label: int


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """Images of a split, in an order that is always the same.

    Attributes:
      store: Where they are.
      numbers: Theirs in the store, int64 [N].
      labels: int32 [N].
      reading: How they are cut.
    """

    store: Store
    numbers: np.ndarray
    labels: np.ndarray
    reading: Reading

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Encoded:
        """Reads an image as its store has it."""
        content, name = self.store.read(int(self.numbers[index]))
        return Encoded(content, name, int(self.labels[index]))

    def part(self, where: slice | np.ndarray) -> "EncodedSplit":
        """Returns some of the images as a split."""
        return dataclasses.replace(self, numbers=self.numbers[where], labels=self.labels[where])

    @property
    def images(self) -> "Photographs":
        """The images whole and decoded, by index."""
        return Photographs(self)

    def digest(self) -> str:
        """Returns 16 hexadecimal digits that change with the files' names, the images' order and their labels."""
        parts = ("\n".join(self.store.names).encode(), self.numbers.tobytes(), self.labels.tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Photographs:
    """The images of a split, decoded one by one when asked for."""

    split: EncodedSplit

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> np.ndarray:
        """Decodes an image to uint8 [H, W, 3], each of its own size.

        Raises:
          UnreadableImageError: It cannot be decoded.
        """
        encoded = self.split[index]
        if isinstance(encoded.content, np.ndarray):
            return encoded.content
        return images.decode_image(encoded.content, encoded.name)
