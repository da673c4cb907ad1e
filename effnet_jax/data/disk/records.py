"""Reads an image classification dataset that TFDS prepared, without TensorFlow.

`tfds.builder(...).as_data_source()` reads the same files one record at a time and only as ArrayRecord;
reading whole shards is faster and takes TFRecord, TFDS's default format, too.
"""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import files, tfrecord
from effnet_jax.data.disk.descriptions import Prepared, mend
from effnet_jax.errors import UserError

_ID_FEATURES = ("id", "file_name")


def decode(
    prepared: Prepared, split: str, image_size: tuple[int, int], progress: files.Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes one split.

    TFDS stores records in a shuffled order; where they carry an "id", they are put in the order of the
    ids, which for CIFAR is that of the original files. What is made of the order, such as a
    validation split, then does not depend on who prepared the data.

    Args:
      prepared: The dataset.
      split: One of its splits.
      image_size: Height and width that every image must have.
      progress: Told of every record.

    Returns:
      Images uint8 [N, H, W, 3], grey ones with three equal channels, and labels int32 [N].

    Raises:
      UserError: If a file is missing or damaged, or holds another number of records than stated.
    """
    from PIL import Image

    total = prepared.num_records[split]
    images = np.empty((total, *image_size, 3), np.uint8)
    labels = np.empty(total, np.int32)
    is_grey = prepared.image_shape[2] == 1
    ids, index = [], 0
    for path, stated in prepared.shards[split]:
        with _damage(prepared, path):
            for record in examples(prepared, path, stated):
                with Image.open(io.BytesIO(record.image)) as image:
                    pixels = np.asarray(image.convert("RGB") if is_grey else image)
                if pixels.shape != images.shape[1:]:
                    raise ValueError(f"an image of shape {pixels.shape}, not {images.shape[1:]}")
                images[index], labels[index] = pixels, record.label
                ids.extend([record.id] if record.id else [])
                index += 1
                progress.advance(1)
    if len(ids) == total:
        order = np.array(sorted(range(total), key=ids.__getitem__))
        images, labels = images[order], labels[order]
    return images, labels


@dataclasses.dataclass(frozen=True)
class Example:
    """A record.

    Attributes:
      image: As it is encoded.
      label: Its class.
      id: That of TFDS, empty where it gave none.
      position: Its number in an ArrayRecord file; in a TFRecord file the byte at which it begins.
    """

    image: bytes
    label: int
    id: str
    position: int


def examples(prepared: Prepared, path: Path, stated: int) -> Iterator[Example]:
    """Yields the records of one shard; the whole file is in memory meanwhile.

    Args:
      prepared: The dataset.
      path, stated: An entry of `prepared.shards`.

    Raises:
      UserError: If the file is damaged, or holds another number of records than stated.
    """
    try:
        from tensorflow_datasets.proto import tf_example_pb2  # all of TFDS that is needed here
    except ImportError as error:
        raise UserError(
            f"reading {prepared.folder} needs tensorflow-datasets and pillow ({error}): "
            "pip install -r requirements-cpu.txt"
        ) from error
    with _damage(prepared, path):
        shard = _read_shard(path, prepared.record_format)
        if len(shard) != stated:
            raise ValueError(f"{len(shard)} records where dataset_info.json says {stated}")
        for position, record in shard:
            feature = tf_example_pb2.Example.FromString(record).features.feature
            (label,) = feature[prepared.label_feature].int64_list.value
            if not 0 <= label < len(prepared.class_names):
                raise ValueError(f"label {label}")
            (image,) = feature[prepared.image_feature].bytes_list.value
            ids = [text for key in _ID_FEATURES if key in feature for text in feature[key].bytes_list.value]
            yield Example(image, label, ids[0].decode() if ids else "", position)


def is_labelled(prepared: Prepared, split: str) -> bool:
    """Whether the first record of a split has a class: test splits without have -1 in its place.

    Raises:
      UserError: If the file is missing or damaged.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    path, _ = prepared.shards[split][0]
    with _damage(prepared, path):
        if prepared.record_format == "tfrecord":
            record = tfrecord.read_at(path, 0)
        else:
            with _array_record_reader(path) as reader:
                record = reader.read([0])[0]
        (label,) = tf_example_pb2.Example.FromString(record).features.feature[prepared.label_feature].int64_list.value
    return label >= 0


@contextlib.contextmanager
def _damage(prepared: Prepared, path: Path) -> Iterator[None]:
    """Turns whatever reading a damaged shard raises into a `UserError`.

    That depends on where it is hit: protobuf, Pillow, riegeli and this code each have exceptions of their own,
    so all are taken for damage here, save errors of the system (memory, a disk that cannot be read).
    """
    try:
        yield
    except (UserError, MemoryError, PermissionError):
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): {mend(prepared.folder)}") from error


def _read_shard(path: Path, record_format: str) -> list[tuple[int, bytes]]:
    """Returns the records, each with its position, see `Example`."""
    if record_format == "tfrecord":
        return list(tfrecord.records(path.read_bytes()))
    with _array_record_reader(path) as reader:
        return list(enumerate(reader.read_all()))


def _array_record_reader(path: Path) -> contextlib.AbstractContextManager:
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise UserError(f"reading {path} needs array_record ({error}): pip install array_record") from error
    return contextlib.closing(array_record_module.ArrayRecordReader(str(path)))
