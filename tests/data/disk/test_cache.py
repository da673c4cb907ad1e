"""The cache is whole or not there, whoever is killed, comes second, or runs out of disk."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from effnet_jax.data.disk import cache
from effnet_jax.errors import UserError

REPOSITORY = Path(__file__).parents[3]


def make(seed: int = 0) -> cache.Cached:
    rng = np.random.default_rng(seed)
    splits = {
        split: (rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8), np.arange(count, dtype=np.int32))
        for split, count in (("train", 30), ("test", 10))
    }
    return cache.Cached(("a", "b"), splits, "/data/x/1.0.0")


def assert_equal(left: cache.Cached, right: cache.Cached) -> None:
    assert (left.class_names, left.source) == (right.class_names, right.source)
    assert list(left.splits) == list(right.splits)
    for split in left.splits:
        for one, other in zip(left.splits[split], right.splits[split]):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_round_trip(tmp_path):
    folder = tmp_path / "x-1"
    assert cache.read(folder) is None
    assert_equal(cache.write(folder, make()), make())
    assert_equal(cache.read(folder), make())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1"]


def test_images_are_mapped_and_read_only(tmp_path):
    images, _ = cache.write(tmp_path / "x-1", make()).splits["train"]
    assert isinstance(images.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_every_flipped_bit_is_found(tmp_path):
    folder = tmp_path / "x-1"
    cache.write(folder, make())
    for path in sorted(folder.iterdir()):
        content = bytearray(path.read_bytes())
        for position in range(0, len(content), 7):
            content[position] ^= 4
            path.write_bytes(content)
            with pytest.raises(cache.CorruptCache, match=path.name):
                cache.read(folder)
            content[position] ^= 4
        path.write_bytes(content)
    assert_equal(cache.read(folder), make())


def test_truncated_file(tmp_path):
    cache.write(tmp_path / "x-1", make())
    path = tmp_path / "x-1" / "test_images.npy"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(cache.CorruptCache, match=rf"expected {size} bytes, found {size - 1} bytes"):
        cache.read(tmp_path / "x-1")


def test_root(monkeypatch, tmp_path):
    assert cache.root("") == tmp_path / "cache"  # $EFFNET_JAX_CACHE
    assert cache.root("/a") == Path("/a")
    monkeypatch.delenv("EFFNET_JAX_CACHE")
    assert cache.root("") == tmp_path / "home" / ".cache" / "effnet_jax"


def test_names_that_begin_alike_are_told_apart(tmp_path):
    cache.write(tmp_path / "cifar100-1", make())
    assert cache.folders(tmp_path, "cifar10") == []
    assert cache.folders(tmp_path, "cifar100") == [tmp_path / "cifar100-1"]


@pytest.mark.parametrize("victim", ["rename", "fsync"])
def test_a_killed_writer_leaves_nothing_that_looks_whole(tmp_path, victim):
    code = (
        "import os, signal\n"
        "from effnet_jax.data.disk import cache\n"
        "from tests.data.disk.test_cache import make\n"
        f"os.{victim} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"cache.write(cache.root({str(tmp_path)!r}) / 'x-1', make())"
    )
    result = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert cache.read(tmp_path / "x-1") is None and cache.folders(tmp_path, "x") == []
    (remains,) = tmp_path.glob(".x-1.*.tmp")
    assert_equal(cache.write(tmp_path / "x-1", make()), make())
    assert remains.exists()  # it may be another process's, still at work
    os.utime(remains, (0, 0))
    cache.write(tmp_path / "x-2", make())
    assert not remains.exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_second_of_two_writers(tmp_path, monkeypatch, damaged):
    folder = tmp_path / "x-1"
    rename = os.rename

    def rename_after_another_process(source, target):
        monkeypatch.setattr(os, "rename", rename)
        cache.write(folder, make())
        if damaged:
            (folder / "manifest.json").write_text("{}")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_after_another_process)
    assert_equal(cache.write(folder, make()), make())
    assert_equal(cache.read(folder), make())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1"]


def test_of_two_processes_one_makes_what_both_need(tmp_path):
    made, begun = [], threading.Event()

    def slowly():
        begun.set()
        time.sleep(0.3)
        made.append(1)
        return make()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.read_or_make, tmp_path / "x-1", slowly, "")
        begun.wait()
        second = pool.submit(cache.read_or_make, tmp_path / "x-1", slowly, "")
        for found in (first, second):
            assert_equal(found.result(), make())
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x-1"]


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"the disk is full while writing {tmp_path}: .*EFFNET_JAX_CACHE"):
        cache.write(tmp_path / "x-1", make())
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_seen_before_writing(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**19}))
    with pytest.raises(UserError, match=r"has 0 MiB free and 1 MiB are needed: free some space, or set"):
        cache.write(tmp_path / "x-1", make())
    assert list(tmp_path.iterdir()) == []


def test_unwritable_root(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file.*: set EFFNET_JAX_CACHE"):
        cache.write(tmp_path / "file" / "x-1", make())
