"""Reads an image classification dataset that TFDS prepared, without TensorFlow.

`tfds.builder(...).as_data_source()` reads the same files one record at a time and only as ArrayRecord;
reading whole shards is faster and takes TFRecord, TFDS's default format, too.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import files
from effnet_jax.errors import UserError

_SAMPLE_BYTES = 2**16
_ID_FEATURES = ("id", "file_name")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset as TFDS left it on disk.

    Attributes:
      folder: `<data_dir>/<name>/<version>`.
      record_format: "array_record" or "tfrecord".
      shards: For each split, the files with the number of records that dataset_info.json states.
      class_names: By label; the numbers themselves where TFDS knows no names.
    """

    folder: Path
    record_format: str
    shards: dict[str, tuple[tuple[Path, int], ...]]
    class_names: tuple[str, ...]

    @property
    def num_records(self) -> dict[str, int]:
        """Records by split, as stated."""
        return {split: sum(count for _, count in shards) for split, shards in self.shards.items()}


def find(name: str, data_dir: Path, num_classes: int, test_split: str = "test") -> Prepared | None:
    """Returns what TFDS prepared of dataset `name` under `data_dir`: its newest version, or None.

    Its split `test_split` is called "test" here, and others than that and "train" are left out.

    Raises:
      UserError: If it is there but cannot be used: a file is missing or unreadable, the format is neither
        ArrayRecord nor TFRecord, or the classes are not `num_classes`.
    """
    versions = [
        (tuple(map(int, path.parent.name.split("."))), path.parent)
        for path in data_dir.glob(f"{name}/*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)  # not TFDS's folders of half-made datasets
    ]
    if not versions:
        return None
    _, folder = max(versions)
    try:
        stated = json.loads((folder / "dataset_info.json").read_text())
        features = json.loads((folder / "features.json").read_text())
        found_classes = int(features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"])
        # The format is written since TFDS 4.2; before, there was only TFRecord.
        record_format = stated.get("fileFormat", "tfrecord")
        ours = {"train": "train", test_split: "test"}
        shards = {
            ours[split["name"]]: _shards(folder, name, split["name"], record_format, split["shardLengths"])
            for split in stated["splits"]
            if split["name"] in ours
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} holds no readable TFDS dataset ({error!r}): {_mend(folder)}") from error
    if record_format not in ("array_record", "tfrecord"):
        raise UserError(
            f"{folder} is in TFDS's format {record_format!r}, which cannot be read here: "
            "prepare it again with file_format='array_record'"
        )
    if found_classes != num_classes:
        raise UserError(f"{folder} has {found_classes} classes where {name} has {num_classes}: {_mend(folder)}")
    if not {"train", "test"} <= set(shards):
        raise UserError(f"{folder} lacks the split train or {test_split}: {_mend(folder)}")
    names_file = folder / "label.labels.txt"
    names = names_file.read_text().split() if names_file.is_file() else list(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise UserError(f"{names_file} names {len(names)} classes of {num_classes}: {_mend(folder)}")
    return Prepared(folder, record_format, shards, tuple(names))


def fingerprint(prepared: Prepared, salt: int) -> str:
    """Returns 16 hexadecimal digits that change when the dataset does, without reading all of it.

    Hashes TFDS's descriptions of it, and of each shard its size and its first and last 64 KiB.

    Args:
      prepared: From `find`.
      salt: Anything else that what is derived from the dataset depends on.

    Raises:
      UserError: If a shard is missing.
    """
    digest = hashlib.sha256(str(salt).encode())
    for file_name in ("dataset_info.json", "features.json"):
        digest.update((prepared.folder / file_name).read_bytes())
    digest.update("\n".join(prepared.class_names).encode())
    for shards in prepared.shards.values():
        for path, _ in shards:
            if not path.is_file():
                raise UserError(f"{path} is missing: {_mend(prepared.folder)}")
            size = path.stat().st_size
            digest.update(str(size).encode())
            with open(path, "rb") as file:
                digest.update(file.read(_SAMPLE_BYTES))
                file.seek(max(size - _SAMPLE_BYTES, 0))
                digest.update(file.read())
    return digest.hexdigest()[:16]


def decode(
    prepared: Prepared, split: str, image_size: tuple[int, int], progress: files.Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Reads and decodes one split.

    TFDS stores records in a shuffled order; where they carry an "id", they are put in the order of the
    ids, which for CIFAR is that of the original files. What is made of the order, such as a
    validation split, then does not depend on who prepared the data.

    Args:
      prepared: From `find`.
      split: "train" or "test".
      image_size: Height and width that every image must have.
      progress: Told of every record.

    Returns:
      Images uint8 [N, H, W, 3] and labels int32 [N].

    Raises:
      UserError: If a file is missing or damaged, or holds another number of records than stated.
    """
    from PIL import Image

    total = prepared.num_records[split]
    images = np.empty((total, *image_size, 3), np.uint8)
    labels = np.empty(total, np.int32)
    ids, index = [], 0
    for path, stated in prepared.shards[split]:
        with _damage(prepared, path):
            for record in examples(prepared, path, stated):
                with Image.open(io.BytesIO(record.image)) as image:
                    pixels = np.asarray(image)
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
    """A record: the image as it is encoded, its label, and TFDS's id, empty where it gave none."""

    image: bytes
    label: int
    id: str


def examples(prepared: Prepared, path: Path, stated: int) -> Iterator[Example]:
    """Yields the records of one shard; the whole file is in memory meanwhile.

    Args:
      prepared: From `find`.
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
        for record in shard:
            feature = tf_example_pb2.Example.FromString(record).features.feature
            (label,) = feature["label"].int64_list.value
            if not 0 <= label < len(prepared.class_names):
                raise ValueError(f"label {label}")
            (image,) = feature["image"].bytes_list.value
            ids = [feature[key].bytes_list.value[0] for key in _ID_FEATURES if key in feature]
            yield Example(image, label, ids[0].decode() if ids else "")


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
        raise UserError(f"{path} is damaged ({reason}): {_mend(prepared.folder)}") from error


def _shards(folder: Path, name: str, split: str, record_format: str, lengths: list[str]):
    return tuple(
        (folder / f"{name}-{split}.{record_format}-{index:05d}-of-{len(lengths):05d}", int(length))
        for index, length in enumerate(lengths)
    )


def _read_shard(path: Path, record_format: str) -> list[bytes]:
    if record_format == "tfrecord":
        return _read_tfrecord(path)
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise UserError(f"reading {path} needs array_record ({error}): pip install array_record") from error
    with contextlib.closing(array_record_module.ArrayRecordReader(str(path))) as reader:
        return reader.read_all()


def _read_tfrecord(path: Path) -> list[bytes]:
    """Each record is its length (uint64), a CRC of that (4 bytes), the data, and a CRC of the data (4 bytes).

    The CRCs are of a kind the standard library lacks; damage shows in the lengths and in the PNGs' own CRCs.
    """
    data = path.read_bytes()
    records, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        start = position + 12
        position = start + length + 4
        if position > len(data):
            raise ValueError("the last record is cut off")
        records.append(data[start : start + length])
    return records


def _mend(folder: Path) -> str:
    return f"delete {folder} to have it prepared again, or set dataset.data_dir to another folder"
