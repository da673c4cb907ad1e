"""Writes photographs as the ArrayRecord files of a TFDS dataset. Writing that was killed goes on where it was.

TFDS's own machinery would write everything twice and start anew each time. The result is the same: features,
version, names of the files, and `tfds.builder_from_directory` reads it.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from effnet_jax.data.disk import files
from effnet_jax.errors import UserError
from effnet_jax.process import lock

WAY_OUT = "set dataset.data_dir or TFDS_DATA_DIR to a folder that can take it"
RECORDS_PER_SHARD = 2048
_FEATURES = "tensorflow_datasets.core.features"
_SOURCE = "source.txt"  # what the shards of a half-made dataset come from


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One image.

    Attributes:
      split: As TFDS calls it.
      id: Unique in the dataset.
      label: Index of its class.
      read: Returns the image as it is encoded; not called for what is written already.
    """

    split: str
    id: str
    label: int
    read: Callable[[], bytes]


class Collection(Protocol):
    """Photographs of a dataset, as the user has them.

    Attributes:
      name, version: As TFDS calls them.
      class_names: By label.
      id_feature: What TFDS calls the photographs' ids.
      sizes: Number of photographs by split.
      origin: Where they are.
      num_bytes: About how much room they take.
      fingerprint: Changes when they do.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    id_feature: str
    sizes: dict[str, int]
    origin: Path
    num_bytes: int
    fingerprint: str

    def photographs(self) -> Iterator[Photograph]:
        """Yields them in an order that is always the same."""


def import_tfds(name: str):
    """Returns the module, or raises a `UserError` where something that preparing needs is missing."""
    try:
        import importlib_resources  # noqa: F401  (TFDS needs it to prepare and does not ask for it)
        import tensorflow_datasets
        from array_record.python import array_record_module  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"preparing {name} needs tensorflow-datasets, array_record and importlib_resources ({error}): "
            "pip install -r requirements-cpu.txt"
        ) from error
    return tensorflow_datasets


@contextlib.contextmanager
def reading(origin: Path) -> Iterator[None]:
    """Turns what reading a damaged or incomplete archive, or its lists, raises into a `UserError`."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError, KeyError, ValueError) as error:
        raise UserError(f"{origin} is incomplete or damaged ({error}): get the original again") from error


@contextlib.contextmanager
def preparing(folder: Path) -> Iterator[None]:
    """A block in which no other process prepares the dataset in `folder`, which is `<data_dir>/<name>`.

    Waits for one that does; look then whether there is anything left to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder / lock.FILE, f"preparing {folder}", wait=True):
        yield


def write(collection: Collection, data_dir: Path) -> None:
    """Writes `<data_dir>/<name>/<version>/`, which appears when it is whole.

    Until then it is called `<version>.partial` and holds whole shards, which the next call keeps.

    Raises:
      UserError: If a photograph is missing, or `data_dir` cannot be written or has no room.
    """
    folder = data_dir / collection.name / collection.version
    partial = folder.with_name(f"{collection.version}.partial")
    there = sum(path.stat().st_size for path in partial.glob("*"))
    files.make_room(data_dir, collection.num_bytes - there, WAY_OUT)
    with files.disk_errors(data_dir, WAY_OUT), files.array_record_errors(), preparing(folder.parent):
        if (folder / "dataset_info.json").is_file():
            return
        partial.mkdir(exist_ok=True)
        _keep_only_shards_of(collection, partial)
        num_bytes = _write_shards(collection, partial, data_dir)
        _describe(collection, partial, num_bytes)
        os.rename(partial, folder)
        files.sync_folder(folder.parent)


def _keep_only_shards_of(collection: Collection, partial: Path) -> None:
    source = partial / _SOURCE
    if not source.is_file() or source.read_text() != collection.fingerprint:
        shutil.rmtree(partial)
        partial.mkdir()
        source.write_text(collection.fingerprint)


def _write_shards(collection: Collection, partial: Path, data_dir: Path) -> dict[str, int]:
    """Returns the bytes of each split."""
    total = sum(collection.sizes.values())
    with (
        files.Progress(f"preparing {collection.name} in {data_dir}, once", total, "images") as progress,
        contextlib.ExitStack() as stack,
    ):
        writers = {
            split: stack.enter_context(_SplitWriter(collection, split, size, partial))
            for split, size in collection.sizes.items()
        }
        for photograph in collection.photographs():
            writers[photograph.split].add(photograph)
            progress.advance(1)
        for writer in writers.values():
            writer.check()
    return {split: sum(path.stat().st_size for path in partial.glob(f"*-{split}.*-of-*")) for split in writers}


class _SplitWriter:
    """Writes one split, shard after shard; a shard has its name when it is whole."""

    def __init__(self, collection: Collection, split: str, size: int, partial: Path):
        self._collection, self._split, self._size, self._partial = collection, split, size, partial
        self._count, self._writer, self._path = 0, None, None

    def __enter__(self) -> "_SplitWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:  # an error: half a shard is worth nothing
            with contextlib.suppress(Exception):
                self._writer.close()
            _unfinished(self._path).unlink(missing_ok=True)

    def add(self, photograph: Photograph) -> None:
        if self._count == self._size:
            self.check(at_least=self._size + 1)
        if self._count % RECORDS_PER_SHARD == 0:
            self._begin(self._count // RECORDS_PER_SHARD)
        if self._writer is not None:
            self._writer.write(_record(photograph, self._collection.id_feature))
        self._count += 1
        if self._writer is not None and (self._count % RECORDS_PER_SHARD == 0 or self._count == self._size):
            self._end()

    def check(self, at_least: int = 0) -> None:
        """Raises a `UserError` where the photographs are not as many as they should be."""
        found = max(self._count, at_least)
        if found != self._size:
            raise UserError(
                f"{self._collection.origin} holds {found:,}{' or more' if at_least else ''} images of "
                f"{self._collection.name}'s split {self._split}, not {self._size:,}: get the original again"
            )

    def _begin(self, shard: int) -> None:
        from array_record.python import array_record_module

        self._path = self._partial / shard_name(self._collection.name, self._split, shard, self._size)
        if not self._path.is_file():
            _unfinished(self._path).unlink(missing_ok=True)
            # As TFDS does: one record a group, so that each can be read alone.
            self._writer = array_record_module.ArrayRecordWriter(str(_unfinished(self._path)), "group_size:1")

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        try:
            writer.close()
            with open(_unfinished(self._path), "rb") as file:
                os.fsync(file.fileno())
        except BaseException:
            _unfinished(self._path).unlink(missing_ok=True)
            raise
        os.rename(_unfinished(self._path), self._path)


def shard_name(name: str, split: str, shard: int, size: int) -> str:
    """Returns TFDS's name of a file; `size` is the number of records of the split."""
    return f"{name}-{split}.array_record-{shard:05d}-of-{-(-size // RECORDS_PER_SHARD):05d}"


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _record(photograph: Photograph, id_feature: str) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(photograph.read())
    example.features.feature["label"].int64_list.value.append(photograph.label)
    example.features.feature[id_feature].bytes_list.value.append(photograph.id.encode())
    return example.SerializeToString()


def _describe(collection: Collection, partial: Path, num_bytes: dict[str, int]) -> None:
    """Writes what TFDS writes beside the shards."""
    features = {
        "image": {
            "pythonClassName": f"{_FEATURES}.image_feature.Image",
            "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"},
        },
        "label": {
            "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(len(collection.class_names))},
        },
        collection.id_feature: {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}},
    }
    info = {
        "name": collection.name,
        "version": collection.version,
        "fileFormat": "array_record",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(num_bytes[split]),
                "shardLengths": [
                    str(min(RECORDS_PER_SHARD, size - start)) for start in range(0, size, RECORDS_PER_SHARD)
                ],
            }
            for split, size in collection.sizes.items()
        ],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
    }
    (partial / "label.labels.txt").write_text("\n".join(collection.class_names) + "\n", encoding="utf-8")
    python_class = f"{_FEATURES}.features_dict.FeaturesDict"
    (partial / "features.json").write_text(
        json.dumps({"pythonClassName": python_class, "featuresDict": {"features": features}}, indent=1)
    )
    (partial / "dataset_info.json").write_text(json.dumps(info, indent=1))
    files.sync_folder(partial)
