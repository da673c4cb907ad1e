"""TFRecord files, TFDS's default format, without TensorFlow.

Each record is its length (uint64, little-endian), a masked CRC-32C of that (uint32), the data, and a masked CRC-32C of
the data. Lengths are checked, so that a damaged one cannot lead astray. Data are not: the standard library knows no
CRC-32C, and in Python it would take longer than decoding.
"""

import bisect
import functools
import itertools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_MASK_DELTA = 0xA282EAD8


def records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the records of a file, each with the position of its length.

    Raises:
      ValueError: A length is damaged, or the file is cut off.
    """
    position = 0
    while position < len(content):
        record = _record(content, position)
        yield position, record
        position += _HEADER.size + len(record) + _FOOTER.size


def read_at(path: Path, position: int) -> bytes:
    """Reads the record at a position that `records` gave.

    Raises:
      ValueError: There is none, or its length is damaged.
      OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(position)
        header = file.read(_HEADER.size)
        length = _length(header, 0)
        return _record(header + file.read(length + _FOOTER.size), 0)


class Files:
    """Several files one after the other; a record is found by the byte of all of them at which it begins."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = tuple(paths)
        self._starts = [0, *itertools.accumulate(path.stat().st_size for path in self._paths)]

    def __getitem__(self, position: int) -> bytes:
        """Reads a record; raises as `read_at` does."""
        file = bisect.bisect_right(self._starts, position) - 1
        return read_at(self._paths[file], position - self._starts[file])


def _record(content: bytes, position: int) -> bytes:
    length = _length(content, position)
    start = position + _HEADER.size
    if start + length + _FOOTER.size > len(content):
        raise ValueError("the last record is cut off")
    return content[start : start + length]


def _length(content: bytes, position: int) -> int:
    if position + _HEADER.size > len(content):
        raise ValueError("the last record is cut off")
    length, checksum = _HEADER.unpack_from(content, position)
    if checksum != masked_crc32c(content[position : position + 8]):
        raise ValueError("the checksum of a record's length does not match")
    return length


def masked_crc32c(data: bytes) -> int:
    """Returns the checksum of a few bytes as TFRecord files have it."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), values >> np.uint32(1))
    return tuple(values.tolist())
