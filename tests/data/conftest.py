"""Small archives in the exact layout of the CIFAR "binary version", and a machine without a network."""

import dataclasses
import io
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest

from effnet_jax.data.disk import download
from effnet_jax.data.sets import cifar, cifar_archives
from tests.data import python2_pickles

LABEL_COUNTS = {"cifar10": {"label": 10}, "cifar100": {"coarse_label": 20, "label": 100}}


def small_cifar(name: str, per_class: int = 3, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random images [N, 32, 32, 3] and labels [N] by split, `per_class` in train and 1 in test."""
    rng = np.random.default_rng(seed)
    classes = LABEL_COUNTS[name]["label"]
    splits = {}
    for split, count in (("train", per_class), ("test", 1)):
        labels = rng.permutation(np.repeat(np.arange(classes), count))
        splits[split] = (rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8), labels)
    return splits


def write_archive(name: str, folder: Path, splits: dict) -> cifar_archives.BinaryArchive:
    """Writes the archive of `splits` under its original name; returns its entry with the right checksum."""
    archive = cifar_archives.BINARY[name]
    path = folder / archive.file_name
    with tarfile.open(path, "w:gz") as tar:

        def add(file_name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"{archive.folder}/{file_name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for split, file_names in archive.split_files.items():
            images, labels = splits[split]
            columns = [labels // 5] * (len(archive.label_files) - 1) + [labels]  # coarse, then fine
            records = np.concatenate(
                [np.stack(columns, axis=1).astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(-1, 3072)],
                axis=1,
            )
            for file_name, part in zip(file_names, np.array_split(records, len(file_names))):
                add(file_name, part.tobytes())
        for feature, file_name in archive.label_files.items():
            names = [f"{feature}_{index}" for index in range(LABEL_COUNTS[name][feature])]
            add(file_name, ("\n".join(names) + "\n\n").encode())  # the originals end with empty lines
    return dataclasses.replace(archive, sha256=download.sha256(path))


def write_python_archive(name: str, folder: Path, splits: dict) -> cifar_archives.PickledArchive:
    """Writes the "python version" of the same, as Python 2 pickles it; returns its entry likewise."""
    archive = cifar_archives.PICKLED[name]
    path = folder / archive.file_name
    contents = {}
    for split, file_names in archive.split_files.items():
        images, labels = splits[split]
        rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
        for part, file_name in zip(np.array_split(np.arange(len(labels)), len(file_names)), file_names):
            batch = {b"batch_label": b"a batch", b"data": rows[part], b"filenames": [b"cat_s_000001.png"] * len(part)}
            for feature, (key, _) in archive.keys.items():
                column = labels[part] if feature == "label" else labels[part] // 5
                batch[key.encode()] = column.tolist()
            contents[file_name] = batch
    contents[archive.names_file] = {
        key.encode(): [f"{feature}_{index}".encode() for index in range(LABEL_COUNTS[name][feature])]
        for feature, (_, key) in archive.keys.items()
    }
    with tarfile.open(path, "w:gz") as tar:
        for file_name, content in contents.items():
            pickled = python2_pickles.dumps(content)
            member = tarfile.TarInfo(f"{archive.folder}/{file_name}")
            member.size = len(pickled)
            tar.addfile(member, io.BytesIO(pickled))
    return dataclasses.replace(archive, sha256=download.sha256(path))


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No test sees the user's data, caches or network."""
    monkeypatch.setenv("EFFNET_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)

    def blocked(*args, **kwargs):
        raise OSError("the network is blocked in tests")

    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    monkeypatch.setattr(socket.socket, "connect", blocked)


@pytest.fixture
def make_archive(monkeypatch, tmp_path):
    """A function (name, seed) -> folder with a small archive whose checksum is accepted, and its images."""

    def make(name: str, seed: int = 0) -> tuple[Path, dict[str, tuple[np.ndarray, np.ndarray]]]:
        folder = tmp_path / f"manual_{name}_{seed}"
        folder.mkdir()
        splits = small_cifar(name, seed=seed)
        monkeypatch.setitem(cifar_archives.BINARY, name, write_archive(name, folder, splits))
        return folder, splits

    return make


@pytest.fixture
def original() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is in the archive in `manual_dir`: images and labels by split, in the order of the files."""
    return small_cifar("cifar100")


@pytest.fixture
def manual_dir(make_archive) -> Path:
    """A folder with a small cifar100 archive whose checksum is accepted."""
    return make_archive("cifar100")[0]


@pytest.fixture
def prepared_dir(manual_dir, tmp_path) -> Path:
    """A data directory in which that dataset is prepared."""
    cifar.prepare("cifar100", tmp_path / "tfds", str(manual_dir))
    return tmp_path / "tfds"
