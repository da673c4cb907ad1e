"""Pickles as Python 2 and NumPy 1 wrote them, of what the CIFAR archives hold: Python 3 writes others."""

import struct
from typing import Any

import numpy as np


def dumps(value: Any) -> bytes:
    """Pickles a dictionary by protocol 2; bytes become the text of Python 2."""
    return b"\x80\x02" + _dumps(value) + b"."


def _dumps(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_dumps(key) + _dumps(item) for key, item in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_dumps, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_dumps, value)) + b"t"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, bytes):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if value is None:
        return b"N"
    return _array(value)


def _array(values: np.ndarray) -> bytes:
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _dumps((0,)) + _dumps(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n" + _dumps((b"u1", 0, 1)) + b"R" + _dumps((3, b"|", None, None, None, -1, -1, 0)) + b"b"
    state = b"(" + _dumps(1) + _dumps(values.shape) + kind + _dumps(False) + _dumps(values.tobytes()) + b"t"
    return empty + state + b"b"
