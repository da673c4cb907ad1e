"""Reading pickled dictionaries of NumPy arrays, as data sets are handed on in, without running anything they hold.

Unpickling is restricted to the few names that describe an array of bytes, all replaced by inert stand-ins below; any
other name ends the reading. Pickles of Python 2 and 3 are read alike: text of the former comes as bytes.
"""

import io
import pickle
from typing import Any

import numpy as np

from effnet_jax.errors import UserError

_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError,
    MemoryError,
)  # fmt: skip
_UINT8 = ("u1", b"u1", "uint8", b"uint8")


class _Type:
    """Stands for `numpy.dtype`: only bytes are known, whose order and alignment say nothing."""

    def __init__(self, name: Any, *_: Any):
        if name not in _UINT8:
            raise ValueError(f"an array of {name!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Takes what a pickle says of byte order."""


class _Array:
    """Stands for an array while it is read; the arguments say how NumPy would make an empty one."""

    def __init__(self, *_: Any):
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, by_columns, content = state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes into pickles for Python 2."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"text encoded by {encoding!r}")
    return text.encode("latin1")


class _NdArray:
    """Stands for `numpy.ndarray`, which is only named."""


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Knows built-in values and arrays of bytes and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise UserError(f"it holds more than numbers, text and arrays ({module}.{name}), and pickled code is never run")


def read(content: bytes, name: str) -> dict[str, Any]:
    """Reads a pickled dictionary of numbers, text, lists and uint8 arrays; its keys become text, other text bytes.

    Args:
      content: The pickle.
      name: What errors call it.

    Raises:
      UserError: It holds anything else, or is damaged.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(found, dict):
            raise ValueError("it holds no dictionary")
        return {
            key.decode() if isinstance(key, bytes) else str(key): value.values if isinstance(value, _Array) else value
            for key, value in found.items()
        }
    except UserError as error:
        raise UserError(f"{name}: {error}; get the original again") from error
    except _DAMAGED as error:
        raise UserError(f"{name} is damaged ({error or type(error).__name__}): get the original again") from error
