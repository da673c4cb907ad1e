"""The forms in which CIFAR-10 and CIFAR-100 are handed out: the "binary version" and the "python version".

Both hold the same images in the same order (https://www.cs.toronto.edu/~kriz/cifar.html). The binary one is what is
downloaded; the python one, of pickles, is what users of other libraries have.
"""

import abc
import dataclasses
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import download, pickles, shards
from effnet_jax.errors import UserError

_URL = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32
_BATCHES = range(1, 6)

# (name of a file, without the top folder) -> its content
ReadFile = Callable[[str], bytes]


@dataclasses.dataclass(frozen=True)
class Content:
    """What either form holds.

    Attributes:
      class_names: By feature, in the order in which a record has its labels.
      records: By split uint8 [N, labels + 3072]: a label a feature, then red, green and blue planes of 32x32.
    """

    class_names: dict[str, list[str]]
    records: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Archive(download.Download, abc.ABC):
    """An original archive.

    Attributes:
      url, sha256: See `Download`.
      folder: Top folder inside the archive, and the name of an unpacked one.
      split_files: Files by split, in order.
    """

    folder: str
    split_files: dict[str, tuple[str, ...]]

    @abc.abstractmethod
    def read(self, read_file: ReadFile) -> Content:
        """Reads class names and records.

        Raises:
          ValueError, KeyError: A file is not what it should be.
          UserError: A pickle is damaged, or holds more than data.
        """


@dataclasses.dataclass(frozen=True)
class BinaryArchive(Archive):
    """A record is one byte per entry of `label_files`, then 3072 bytes of pixels.

    Attributes:
      label_files: Files with one class name a line, by feature, in the order of the bytes in a record.
    """

    label_files: dict[str, str]

    def read(self, read_file: ReadFile) -> Content:
        """See `Archive`."""
        class_names = {feature: read_file(name).decode().split() for feature, name in self.label_files.items()}
        records = {
            split: np.frombuffer(b"".join(map(read_file, names)), np.uint8).reshape(-1, len(class_names) + _PIXELS)
            for split, names in self.split_files.items()
        }
        return Content(class_names, records)


@dataclasses.dataclass(frozen=True)
class PickledArchive(Archive):
    """A file of images is a pickled dictionary with the pixels, uint8 [N, 3072], as "data", and lists of labels.

    Attributes:
      names_file: A pickled dictionary of lists of class names.
      keys: By feature, in the order of `Content`: the keys of its labels and of its class names.
    """

    names_file: str
    keys: dict[str, tuple[str, str]]

    def read(self, read_file: ReadFile) -> Content:
        """See `Archive`."""
        names = pickles.read(read_file(self.names_file), self.names_file)
        class_names = {feature: [name.decode() for name in names[key]] for feature, (_, key) in self.keys.items()}
        records = {
            split: np.concatenate([self._records(pickles.read(read_file(name), name)) for name in files])
            for split, files in self.split_files.items()
        }
        return Content(class_names, records)

    def _records(self, batch: dict) -> np.ndarray:
        labels = [np.array(batch[key], np.uint8)[:, None] for key, _ in self.keys.values()]
        return np.concatenate([*labels, batch["data"].reshape(-1, _PIXELS)], axis=1)


BINARY = {
    "cifar10": BinaryArchive(
        url=_URL + "cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        split_files={
            "train": tuple(f"data_batch_{number}.bin" for number in _BATCHES),
            "test": ("test_batch.bin",),
        },
        label_files={"label": "batches.meta.txt"},
    ),
    "cifar100": BinaryArchive(
        url=_URL + "cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        split_files={"train": ("train.bin",), "test": ("test.bin",)},
        label_files={"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
}

PICKLED = {
    "cifar10": PickledArchive(
        url=_URL + "cifar-10-python.tar.gz",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folder="cifar-10-batches-py",
        split_files={"train": tuple(f"data_batch_{number}" for number in _BATCHES), "test": ("test_batch",)},
        names_file="batches.meta",
        keys={"label": ("labels", "label_names")},
    ),
    "cifar100": PickledArchive(
        url=_URL + "cifar-100-python.tar.gz",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        folder="cifar-100-python",
        split_files={"train": ("train",), "test": ("test",)},
        names_file="meta",
        keys={
            "coarse_label": ("coarse_labels", "coarse_label_names"),
            "label": ("fine_labels", "fine_label_names"),
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class Copy:
    """An archive on disk.

    Attributes:
      archive: Which one.
      path: The file, or the folder that it was unpacked to.
    """

    archive: Archive
    path: Path

    def read(self) -> Content:
        """Reads all of it.

        Raises:
          UserError: It is incomplete or damaged.
        """
        with shards.reading(self.path):
            if self.path.is_dir():
                content = self.archive.read(lambda name: (self.path / name).read_bytes())
            else:
                content = self.archive.read(_members(self.archive, self.path).__getitem__)
            for records in content.records.values():
                for column, names in enumerate(content.class_names.values()):
                    if records[:, column].max(initial=0) >= len(names):
                        raise ValueError(f"a label beyond its {len(names)} classes")
        return content


def manual(name: str, folder: Path) -> Copy:
    """Returns the user's own copy: the first of both archives, then of both unpacked.

    Args:
      name: "cifar10" or "cifar100".
      folder: Where the archive lies under its own name, or was unpacked; or the unpacked folder itself.

    Raises:
      UserError: There is none, or the archive is not the original one.
    """
    archives = (BINARY[name], PICKLED[name])
    for archive in archives:
        if (folder / archive.file_name).is_file():
            return Copy(archive, download.manual(archive, folder))
    for archive in archives:
        for path in (folder / archive.folder, folder):
            if path.name == archive.folder and path.is_dir():
                return Copy(archive, path)
    wanted = " or ".join(archive.file_name for archive in archives)
    raise UserError(
        f"{name} is not in {folder}: put the original {wanted}, packed or unpacked, into dataset.manual_dir, or leave "
        "dataset.manual_dir empty to download it"
    )


def _members(archive: Archive, path: Path) -> dict[str, bytes]:
    """Returns the files of the archive by their names without its top folder."""
    with tarfile.open(path, "r:gz") as tar:
        return {
            member.name.removeprefix(archive.folder + "/"): tar.extractfile(member).read()
            for member in tar
            if member.isfile()
        }
