"""Preparing CIFAR: what TFDS itself would make, from an archive that is what it should be, or not at all."""

import concurrent.futures
import errno
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from effnet_jax.data import datasets
from effnet_jax.data.disk import descriptions, download
from effnet_jax.data.sets import cifar, cifar_archives
from effnet_jax.errors import UserError
from tests.data.conftest import write_python_archive

REPOSITORY = Path(__file__).parents[3]
FILE_NAME = "cifar-100-binary.tar.gz"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_tfds_reads_it_back(name, tmp_path, make_archive, capsys, monkeypatch):
    manual_dir, splits = make_archive(name)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    cifar.prepare(name, tmp_path / "tfds", str(manual_dir))
    out, err = capsys.readouterr()
    assert out == "" and [line[:21] for line in err.splitlines()] == ["effnet_jax: preparing"] * 2

    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=tmp_path / "tfds", file_format="array_record")
    own = tfds.builder_cls(name)
    assert own.__module__ == "tensorflow_datasets.image_classification.cifar"  # its registry is untouched
    assert builder.info.version == own.VERSION
    assert set(builder.info.features) == {"id", "image", "label"} | set(cifar_archives.BINARY[name].label_files)
    for split, (images, labels) in splits.items():
        source = builder.as_data_source(split=split)
        examples = sorted(source, key=lambda example: example["id"])
        assert [example["id"].decode() for example in examples] == [
            f"{split}_{index:05d}" for index in range(len(labels))
        ]
        np.testing.assert_array_equal([example["label"] for example in examples], labels)
        np.testing.assert_array_equal([example["image"] for example in examples], images)
        if name == "cifar100":
            np.testing.assert_array_equal([example["coarse_label"] for example in examples], labels // 5)
    assert builder.info.features["label"].int2str(3) == "label_3"
    assert "tensorflow" not in sys.modules
    assert sorted(path.name for path in (tmp_path / "tfds").iterdir()) == [name]  # nothing else is left
    assert not list(temporary.iterdir())


def test_checksums_are_those_of_tfds():
    from tensorflow_datasets.core.download import checksums

    known = checksums.get_all_url_infos()
    for archive in (*cifar_archives.BINARY.values(), *cifar_archives.PICKLED.values()):
        if archive.url not in known:  # TFDS takes the binary ones alone
            continue
        assert known[archive.url].checksum == archive.sha256
        assert known[archive.url].filename == archive.file_name


def test_damaged_archive(manual_dir, tmp_path):
    path = manual_dir / FILE_NAME
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        datasets.load("cifar100", data_dir=str(tmp_path), manual_dir=str(manual_dir))
    for words in (
        str(path),
        f"expected {cifar_archives.BINARY['cifar100'].sha256}",
        f"found {download.sha256(path)}",
    ):
        assert words in str(error.value)
    assert not (tmp_path / "cifar100").exists()


def test_archive_not_in_manual_dir(tmp_path):
    wanted = (
        f"cifar100 is not in {tmp_path}: put the original {FILE_NAME} or cifar-100-python.tar.gz, packed or unpacked"
    )
    with pytest.raises(UserError, match=re.escape(wanted)):
        datasets.load("cifar100", manual_dir=str(tmp_path))


def test_no_network_fails_at_once_with_both_ways_out(tmp_path):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        datasets.load("cifar100")
    assert time.monotonic() - start < 10  # a busy machine, and the import of TFDS; its retries take 210 s
    for words in (
        "the network is blocked",
        "dataset.data_dir",
        "TFDS_DATA_DIR",
        "dataset.manual_dir",
        FILE_NAME,
    ):
        assert words in str(error.value)


def test_a_network_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(20))
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be downloaded from .* \(no answer within 0.2 s\)"):
        datasets.load("cifar100")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_form_of_the_archive_gives_the_same(name, tmp_path, make_archive, monkeypatch):
    binary, splits = make_archive(name)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    monkeypatch.setitem(cifar_archives.PICKLED, name, write_python_archive(name, pickled, splits))
    forms = {"binary": cifar_archives.manual(name, binary), "python": cifar_archives.manual(name, pickled)}
    for folder in (binary, pickled):
        (unpacked := tmp_path / f"{folder.name}_unpacked").mkdir()
        with tarfile.open(next(folder.glob("*.tar.gz"))) as tar:
            tar.extractall(unpacked, filter="data")
        forms[f"in {unpacked.name}"] = cifar_archives.manual(name, unpacked)
        forms[f"{unpacked.name} itself"] = cifar_archives.manual(name, next(unpacked.iterdir()))
    expected = forms.pop("binary").read()
    np.testing.assert_array_equal(
        expected.records["test"][:, -3072:].reshape(-1, 3, 32, 32)[:, 1], splits["test"][0][..., 1]
    )
    for copy in forms.values():
        content = copy.read()
        assert content.class_names == expected.class_names
        for split in splits:
            np.testing.assert_array_equal(content.records[split], expected.records[split])
    datasets.load(
        name, data_dir=str(tmp_path), manual_dir=str(pickled), validation_examples=100 if "100" in name else 10
    )
    damaged = next(pickled.glob("*.tar.gz"))
    damaged.write_bytes(damaged.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"python.tar.gz is damaged or not the original .SHA-256"):
        cifar_archives.manual(name, pickled)


def test_an_unpacked_archive_that_is_damaged(tmp_path, make_archive):
    _, splits = make_archive("cifar100")
    write_python_archive("cifar100", tmp_path, splits)
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "cifar-100-python.tar.gz").unlink()
    folder = tmp_path / "cifar-100-python"
    whole = (folder / "train").read_bytes()
    for content, words in (
        (whole[: len(whole) // 2], "train is damaged"),
        (whole.replace(b"fine_labels", b"fine_labelz"), "incomplete or damaged .'fine_labels'"),
        (b"cos\nsystem\n(S'touch /tmp/x'\ntR.", r"train: it holds more than numbers, text and arrays \(os.system\)"),
    ):
        (folder / "train").write_bytes(content)
        with pytest.raises(UserError, match=words):
            cifar_archives.manual("cifar100", tmp_path).read()
    (folder / "train").unlink()
    with pytest.raises(UserError, match=r"is incomplete or damaged .*train"):
        cifar_archives.manual("cifar100", tmp_path).read()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="cifar100 is not in"):
        cifar_archives.manual("cifar100", tmp_path)


class Response(io.BytesIO):
    """What urlopen returns, with an error after the last byte."""

    def __init__(self, content: bytes, length: int, error: Exception | None = None):
        super().__init__(content)
        self.headers = {"Content-Length": str(length)}
        self._error = error

    def read(self, size: int = -1) -> bytes:
        chunk = super().read(size)
        if not chunk and self._error:
            raise self._error
        return chunk


def test_download(manual_dir, tmp_path, monkeypatch):
    content = (manual_dir / FILE_NAME).read_bytes()
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return Response(content, len(content))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    dataset = datasets.load("cifar100", data_dir=str(tmp_path), validation_examples=100)
    assert len(dataset.splits["train"].labels) == 200
    assert asked == [cifar_archives.BINARY["cifar100"].url]
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == [FILE_NAME]
    cifar.prepare("cifar100", tmp_path, "")  # reuses the file
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("kept", "error", "words"),
    [
        (None, None, "sent is damaged .SHA-256 expected .*, found"),
        (1000, None, "broke off after 1,000 of .* bytes .the connection was closed.: run the command again"),
        (2000, TimeoutError("timed out"), "broke off after 2,000 of .* bytes .timed out.: run the command"),
    ],
)
def test_bad_download_leaves_nothing_that_looks_whole(manual_dir, tmp_path, monkeypatch, kept, error, words):
    content = bytearray((manual_dir / FILE_NAME).read_bytes())
    content[-1] ^= 1
    response = Response(bytes(content[:kept]), len(content), error)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: response)
    with pytest.raises(UserError, match=words):
        cifar.prepare("cifar100", tmp_path / "tfds", "")
    left = {path.name: path.stat().st_size for path in (tmp_path / "tfds" / "downloads").iterdir()}
    assert left == ({} if kept is None else {f".{FILE_NAME}.part": kept})


@pytest.mark.parametrize("sends_rest", [True, False])
def test_a_download_goes_on_where_it_broke_off(manual_dir, tmp_path, monkeypatch, sends_rest):
    content, asked = (manual_dir / FILE_NAME).read_bytes(), []

    def urlopen(request, timeout):
        if not asked:
            asked.append(request)
            return Response(content[:2000], len(content))
        asked.append(request.headers)
        start = 2000 if sends_rest else 0  # some hosts know no ranges and begin anew
        response = Response(content[start:], len(content) - start)
        response.status = 206 if sends_rest else 200
        return response

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(UserError, match="broke off after 2,000"):
        cifar.prepare("cifar100", tmp_path, "")
    cifar.prepare("cifar100", tmp_path, "")
    assert asked[1:] == [{"Range": "bytes=2000-"}]
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [FILE_NAME]


def test_the_second_of_two_downloads_waits_and_takes_the_file_of_the_first(manual_dir, tmp_path, monkeypatch, capsys):
    content, asked = (manual_dir / FILE_NAME).read_bytes(), []
    first_is_asked, goes_on = threading.Event(), threading.Event()

    def urlopen(url, timeout):
        asked.append(url)
        first_is_asked.set()
        assert goes_on.wait(30)
        return Response(content, len(content))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    archive = cifar_archives.BINARY["cifar100"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(download.downloaded, "cifar100", archive, tmp_path)
        assert first_is_asked.wait(30)
        second = pool.submit(download.downloaded, "cifar100", archive, tmp_path)
        with pytest.raises(TimeoutError):
            second.result(timeout=1)
        goes_on.set()
        assert first.result(30) == second.result(30) == tmp_path / "downloads" / FILE_NAME
    assert len(asked) == 1 and "downloading" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["tensorflow_datasets", "importlib_resources"])
def test_tfds_missing(manual_dir, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"preparing cifar100 needs tensorflow-datasets.*pip install"):
        cifar.prepare("cifar100", tmp_path / "tfds", str(manual_dir))


def test_unwritable_data_dir(manual_dir, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file.*: set dataset.data_dir or TFDS_DATA_DIR"):
        cifar.prepare("cifar100", tmp_path / "file" / "tfds", str(manual_dir))

    def read_only(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError, match=r"cannot write .*tfds \(Read-only file system\): set dataset.data_dir"):
        cifar.prepare("cifar100", tmp_path / "tfds", str(manual_dir))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Could not submit chunk: write() failed: No space left on device"),  # from ArrayRecord
    ],
)
def test_full_disk_leaves_nothing(manual_dir, tmp_path, monkeypatch, error):
    def full(*args):
        raise error
        yield

    monkeypatch.setattr(cifar, "_examples", full)
    with pytest.raises(UserError, match=r"the disk is full while writing .*tfds: free some space, or set"):
        cifar.prepare("cifar100", tmp_path / "tfds", str(manual_dir))
    assert list((tmp_path / "tfds").rglob("*.*record*")) == []
    assert descriptions.find("cifar100", tmp_path / "tfds", 100) is None


def test_killed_while_preparing(manual_dir, tmp_path):
    archive = cifar_archives.BINARY["cifar100"]
    code = (
        "import dataclasses, os, pathlib, signal\n"
        "from effnet_jax.data.disk import files\n"
        "from effnet_jax.data.sets import cifar, cifar_archives\n"
        "archive = cifar_archives.BINARY['cifar100']\n"
        f"cifar_archives.BINARY['cifar100'] = dataclasses.replace(archive, sha256={archive.sha256!r})\n"
        "count = 0\n"
        "def advance(self, n):\n"
        "    global count\n"
        "    count += n\n"
        "    if count == 350: os.kill(os.getpid(), signal.SIGKILL)\n"  # train is written, test is not
        "files.Progress.advance = advance\n"
        f"cifar.prepare('cifar100', pathlib.Path({str(tmp_path)!r}), {str(manual_dir)!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("*train.array_record*"))
    assert descriptions.find("cifar100", tmp_path, 100) is None
    cifar.prepare("cifar100", tmp_path, str(manual_dir))
    assert descriptions.find("cifar100", tmp_path, 100) is not None
