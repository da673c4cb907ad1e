"""A decoded data set as a few small files, for a machine that has neither a network nor the libraries to prepare one.

`pack` compresses a cache without loss into parts of about equal size (CIFAR-100: two of 49 MiB); `unpack` makes the
same cache of them with NumPy alone. Photographs compress badly as bytes and well as differences: green is kept, red
and blue as differences from green, each plane as differences along rows and columns (modulo 256), then xz.
"""

import concurrent.futures
import io
import json
import lzma
from pathlib import Path

import numpy as np

from effnet_jax.data.disk import cache
from effnet_jax.errors import UserError
from effnet_jax.process import atomic

_BLOCK = 5_000  # images a block: blocks are packed and unpacked side by side, in threads, which xz lets run
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}]
_META = "meta.json"


def pack(folder: Path, output: Path, num_parts: int = 2) -> list[Path]:
    """Packs the cache in `folder` into `output/part0/part0.npz`, `output/part1/part1.npz`, ...; returns their paths.

    Each has a folder of its own, because they are carried one at a time.

    Raises:
      UserError: there is no cache in `folder`, or `output` cannot be written.
    """
    cached = cache.read(folder)
    if cached is None:
        raise UserError(f"{folder} holds no decoded data set")
    meta = {"name": folder.name, "class_names": cached.class_names, "source": cached.source, "splits": {}}
    names, blocks = [], []
    for split, (images, labels) in cached.splits.items():
        meta["splits"][split] = {"count": len(labels), "shape": images.shape[1:], "labels": labels.tolist()}
        for start in range(0, len(images), _BLOCK):
            names.append(f"{split}_{start:09d}")
            blocks.append(images[start : start + _BLOCK])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        packed = [np.frombuffer(data, np.uint8) for data in pool.map(_encode, blocks)]
    paths = []
    for part in range(num_parts):
        content = dict(zip(names[part::num_parts], packed[part::num_parts], strict=True))
        buffer = io.BytesIO()
        np.savez(buffer, meta=np.frombuffer(json.dumps(meta | {"parts": num_parts}).encode(), np.uint8), **content)
        paths.append(output / f"part{part}" / f"part{part}.npz")
        with atomic.whole_file(paths[-1]) as file:
            file.write(buffer.getvalue())
    return paths


def unpack(parts: list[Path], cache_root: Path) -> Path:
    """Makes the cache of its parts, under the name it had; returns its folder.

    Raises:
      UserError: a part is missing.
    """
    meta, packed = None, {}
    for path in parts:
        with np.load(path) as content:
            meta = json.loads(content["meta"].tobytes())
            packed |= {name: content[name] for name in content.files if name != "meta"}
    if meta is None or len(parts) != meta["parts"]:
        raise UserError(f"found {len(parts)} of {meta['parts'] if meta else 2} parts of the data; carry them all")
    names = sorted(packed)
    shapes = []
    for name in names:
        split, start = name.rsplit("_", 1)
        size = meta["splits"][split]
        shapes.append((min(_BLOCK, size["count"] - int(start)), *size["shape"]))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        decoded = dict(zip(names, pool.map(_decode, [packed[name].tobytes() for name in names], shapes)))
    splits = {
        split: (
            np.concatenate([decoded[name] for name in names if name.rsplit("_", 1)[0] == split]),
            np.array(size["labels"], np.int32),
        )
        for split, size in meta["splits"].items()
    }
    folder = cache_root / meta["name"]
    cache.write(folder, cache.Cached(tuple(meta["class_names"]), splits, meta["source"]))
    return folder


def _encode(images: np.ndarray) -> bytes:
    """uint8 [N, H, W, 3] -> xz bytes."""
    red, green, blue = np.moveaxis(images, 3, 0)
    planes = np.stack([green, red - green, blue - green])
    planes[..., 1:] -= planes[..., :-1].copy()
    planes[..., 1:, :] -= planes[..., :-1, :].copy()
    return lzma.compress(planes.tobytes(), format=lzma.FORMAT_XZ, filters=_FILTERS)


def _decode(data: bytes, shape: tuple[int, int, int, int]) -> np.ndarray:
    """xz bytes -> uint8 [N, H, W, 3]."""
    count, height, width, _ = shape
    planes = np.frombuffer(lzma.decompress(data), np.uint8).reshape(3, count, height, width)
    planes = np.cumsum(np.cumsum(planes, 2, dtype=np.uint8), 3, dtype=np.uint8)
    green = planes[0]
    return np.stack([planes[1] + green, green, planes[2] + green], -1)
