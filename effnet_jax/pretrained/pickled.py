"""Reading PyTorch's .pth and .bin files without PyTorch, and without running anything they hold.

Both formats are pickles that refer to raw storages: a zip archive since PyTorch 1.6, one stream of several
pickles before. Unpickling is restricted to the few names that describe a tensor, all replaced by inert stand-ins
below; any other name ends the reading.
"""

import collections
import dataclasses
import io
import math
import pathlib
import pickle
import struct
import zipfile
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from effnet_jax.errors import UserError
from effnet_jax.pretrained import unwrapping

_STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_DAMAGED = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, ValueError, KeyError, TypeError,
    IndexError, AttributeError, OSError, NotImplementedError, OverflowError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: Any


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storages: dict[str, bytes]) -> np.ndarray:
        values = np.frombuffer(storages[self.storage.key], self.storage.dtype)[self.offset :]
        count, negative = math.prod(self.shape), min((*self.shape, *self.strides), default=0) < 0
        reach = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        if negative or count > values.size or (count and reach >= values.size):
            raise ValueError("a tensor reaches beyond its storage")
        steps = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, steps, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Knows tensors, storages and ordered dictionaries and nothing else.

    Attributes:
      storages: those referred to so far, by key.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise UserError(
            f"the file holds more than tensors ({module}.{name}), and pickled code is never run; save the "
            "model's state_dict() in the place it came from, best as .safetensors"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or dtype not in _STORAGES.values():
            raise pickle.UnpicklingError(f"unknown object {kind!r}")
        return self.storages.setdefault(str(key), _Storage(str(key), dtype))


class _Ignored:
    """Stands in for what scripts save beside the tensors, options and figures; it takes anything and does nothing."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


_ALLOWED = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("argparse", "Namespace"): _Ignored,  # timm's and torchvision's scripts save their options
    ("numpy", "dtype"): _Ignored,  # and the best accuracy as a scalar of NumPy
    ("numpy.core.multiarray", "scalar"): _Ignored,
    ("numpy._core.multiarray", "scalar"): _Ignored,
    ("_codecs", "encode"): _Ignored,  # the bytes of such a scalar
}


def read(path: pathlib.Path, weights: str = "selected") -> unwrapping.Held:
    """Reads a state_dict of a PyTorch file.

    Args:
      path: the file.
      weights: see `unwrapping.unwrap`.

    Raises:
      UserError: it holds anything but tensors, numbers and text, not these weights, or is damaged.
    """
    try:
        content, storages = _zip_archive(path) if zipfile.is_zipfile(path) else _stream(path)
        held = unwrapping.unwrap(content, weights, _Tensor)
        arrays = {name: tensor.array(storages) for name, tensor in held.tensors.items()}
        return dataclasses.replace(held, tensors=arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} is no whole PyTorch file ({error or type(error).__name__})") from error


def _zip_archive(path: pathlib.Path) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.split("/", 1)[-1]: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("its entries are compressed, which PyTorch never does")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise ValueError("it is big-endian")
        unpickler = _Unpickler(io.BytesIO(archive.read(entries["data.pkl"])))
        content = unpickler.load()
        storages = {key: archive.read(entries[f"data/{key}"]) for key in unpickler.storages}
    return content, storages


def _stream(path: pathlib.Path) -> tuple[Any, dict[str, bytes]]:
    with path.open("rb") as file:
        magic, _protocol, _system = (_Unpickler(file).load() for _ in range(3))
        if magic != _STREAM_MAGIC:
            raise ValueError("unknown format")
        unpickler = _Unpickler(file)
        content = unpickler.load()
        storages = {}
        for key in _Unpickler(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            size = count * np.dtype(unpickler.storages[key].dtype).itemsize
            storages[key] = file.read(size)
            if len(storages[key]) != size:
                raise EOFError("it is cut off")
    return content, storages
