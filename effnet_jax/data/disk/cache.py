"""Decoded images on disk as plain .npy files, memory-mapped at start.

A cache is a folder `<name>-<fingerprint>` with one file of images and one of labels per split, and a
manifest that lists their sizes and CRC-32. It is written into a hidden folder beside it and renamed when it
is whole, so a folder with the final name is always complete, whoever was killed.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import files
from effnet_jax.process import lock, paths

# Part of every fingerprint. Raise it when the files, or the order of the images in them, change.
FORMAT = 1

_MANIFEST = "manifest.json"
_WAY_OUT = f"set {paths.CACHE_VARIABLE} to a folder on another disk"
_STALE_SECONDS = 3600  # a writer takes seconds; what is older was left by one that was killed

# Images uint8 [N, H, W, 3] and labels int32 [N], or what an index and photographs have in their places.
Arrays = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pieces:
    """An array to be written that memory need not hold.

    Attributes:
      shape: Of the whole.
      dtype: Its type.
      parts: Along the first axis, each made when its turn comes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        """Size of the whole."""
        return math.prod(self.shape) * self.dtype.itemsize


class CorruptCache(Exception):
    """A cache that is there but must not be used; the message names the file and says why."""


@dataclasses.dataclass(frozen=True)
class Cached:
    """What a cache holds.

    Attributes:
      class_names: One name a class, by label.
      splits: Images (a read-only memory map, uint8 [N, H, W, 3]; to be written they may be `Pieces`) and labels
        (int32 [N]) by split.
      source: The TFDS folder the images were decoded from.
    """

    class_names: tuple[str, ...]
    splits: dict[str, Arrays]
    source: str


def root(cache_dir: str) -> Path:
    """Returns the folder of all caches: `cache_dir`, else $EFFNET_JAX_CACHE, else ~/.cache/effnet_jax."""
    return (Path(cache_dir).expanduser() if cache_dir else paths.cache_root()).absolute()


def folders(cache_root: Path, name: str) -> list[Path]:
    """Returns the caches of dataset `name`, the newest first."""
    return sorted(cache_root.glob(f"{name}-*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)


def read(folder: Path) -> Cached | None:
    """Memory-maps the cache in `folder` after checking every byte of it.

    CRC-32 runs at more than 1 GB/s and brings the file into the page cache, which the copy to the
    device needs anyway: checking CIFAR costs about 0.1 s.

    Returns:
      The cache, or None if `folder` does not exist.

    Raises:
      CorruptCache: If anything in it is missing or differs from what was written.
    """
    if not folder.is_dir():
        return None
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        content = manifest["content"]
        if manifest["crc32"] != _crc32_of_json(content):
            raise ValueError("its checksum does not match")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptCache(f"{folder / _MANIFEST} is damaged ({error})") from error
    for file_name, entry in content["files"].items():
        path = folder / file_name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            found = "it is missing" if size is None else f"{size} bytes"
            raise CorruptCache(f"{path} is damaged (expected {entry['bytes']} bytes, found {found})")
        if _crc32_of_file(path) != entry["crc32"]:
            raise CorruptCache(f"{path} is damaged (its checksum does not match)")
    return Cached(
        class_names=tuple(content["class_names"]),
        splits={split: _map_split(folder, split) for split in content["splits"]},
        source=content["source"],
    )


def images_file(folder: Path, split: str) -> Path:
    """Returns the file of a split's images in the cache `folder`."""
    return folder / f"{split}_images.npy"


def read_or_make(folder: Path, make: Callable[[], Cached], remedy: str) -> Cached:
    """Reads what is kept in `folder`; where that is missing or damaged one process makes and writes it.

    Args:
      folder: Of the cache.
      make: Makes the content.
      remedy: What making it anew amounts to, for the line that tells of damage.
    """
    with contextlib.suppress(CorruptCache):
        if cached := read(folder):
            return cached
    with contextlib.ExitStack() as stack:
        with files.disk_errors(folder.parent, _WAY_OUT):
            folder.parent.mkdir(parents=True, exist_ok=True)
            making = lock.hold(folder.parent / f".{folder.name}.lock", f"making the cache {folder}", wait=True)
            stack.enter_context(making)
        try:
            cached = read(folder)  # which another process may have made in the meantime
        except CorruptCache as error:
            files.say(f"{error}: {remedy}")
            cached = None
        return cached or write(folder, make())


def write(folder: Path, cached: Cached) -> Cached:
    """Writes `cached` as `folder`, in one step for everyone who looks, and returns it memory-mapped.

    When another process puts a whole cache there first, that one is used: equal fingerprints mean equal
    images. A damaged one is replaced.

    Raises:
      UserError: If the disk is full or the folder cannot be written; nothing is left behind then.
    """
    num_bytes = sum(array.nbytes for arrays in cached.splits.values() for array in arrays)
    files.make_room(folder.parent, num_bytes + 2**20, _WAY_OUT)
    _remove_stale(folder.parent)
    with files.disk_errors(folder.parent, _WAY_OUT):
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            _write_files(scratch, cached)
            # Mapped before the rename, which a map survives: nobody can take it away in between.
            written = read(scratch)
            _put_in_place(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return written


def _write_files(scratch: Path, cached: Cached) -> None:
    entries = {}
    for split, arrays in cached.splits.items():
        for kind, array in zip(("images", "labels"), arrays):
            path = scratch / f"{split}_{kind}.npy"
            with open(path, "wb") as file:
                # Not np.save: its tofile() reports a full disk as an error without a number.
                descr = np.lib.format.dtype_to_descr(array.dtype)
                header = {"descr": descr, "fortran_order": False, "shape": array.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for part in array.parts if isinstance(array, Pieces) else (array,):
                    file.write(np.ascontiguousarray(part).data)
                file.flush()
                os.fsync(file.fileno())
            entries[path.name] = {"bytes": path.stat().st_size, "crc32": _crc32_of_file(path)}
    content = {
        "class_names": list(cached.class_names),
        "source": cached.source,
        "splits": list(cached.splits),
        "files": entries,
    }
    with open(scratch / _MANIFEST, "w") as file:
        json.dump({"crc32": _crc32_of_json(content), "content": content}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    files.sync_folder(scratch)


def _put_in_place(scratch: Path, folder: Path) -> None:
    """Renames `scratch` to `folder`, relying on it that a rename onto a folder with files in it fails."""
    while True:
        try:
            os.rename(scratch, folder)
        except OSError:
            try:
                if read(folder) is not None:
                    return  # another process was first
                raise  # not there: the rename failed for a reason of its own
            except CorruptCache:
                aside = tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent)
                with contextlib.suppress(FileNotFoundError):  # another process moved it away first
                    os.rename(folder, aside)
                shutil.rmtree(aside, ignore_errors=True)
        else:
            files.sync_folder(folder.parent)
            return


def _remove_stale(cache_root: Path) -> None:
    for path in cache_root.glob(".*.tmp/"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _map_split(folder: Path, split: str) -> Arrays:
    images = np.load(images_file(folder, split), mmap_mode="r").view(np.ndarray)
    return images, np.load(folder / f"{split}_labels.npy")


def _crc32_of_file(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, mode="r"))


def _crc32_of_json(content: dict) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
