"""Reading PyTorch's .pth and .bin files without PyTorch, and without running anything they hold.

Both formats are pickles that refer to raw storages: a zip archive since PyTorch 1.6, one stream of several
pickles before. Unpickling is restricted to the few names that describe a tensor, all replaced by inert stand-ins
below. Every other name becomes a `Placeholder`, which keeps what it is given and does nothing, so that the tensors
beside it, or in it, can be had.
"""

import collections
import dataclasses
import io
import math
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Iterator
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
_OF_A_MODULE = ("_parameters", "_buffers", "_modules")
_NAMES_SHOWN = 3
_DAMAGED = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, ValueError, KeyError, TypeError,
    IndexError, AttributeError, OSError, NotImplementedError, OverflowError, RecursionError,
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
    """Knows tensors, storages and ordered dictionaries; all else becomes placeholders.

    Attributes:
      storages: those referred to so far, by key.
      unknown: names of what is not known.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}
        self.unknown: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        return self.unknown.setdefault(f"{module}.{name}", type(name, (Placeholder,), {}))

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key = pid[:3]
        if kind != "storage" or dtype not in _STORAGES.values():
            raise pickle.UnpicklingError(f"unknown object {kind!r}")
        return self.storages.setdefault(str(key), _Storage(str(key), dtype))


class Placeholder:
    """Stands in for an object of any other class, or the result of any function; it takes anything and does nothing.

    Attributes:
      state: the object's attributes, where the file has them.
    """

    def __new__(cls, *_: Any, **__: Any) -> "Placeholder":
        self = super().__new__(cls)
        self.state = {}
        return self

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, key: Any, value: Any) -> None:  # of a dictionary's subclass
        pass

    def append(self, value: Any) -> None:  # of a list's
        pass

    extend = add = append  # and of a set's


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_subclass(rebuild: Any, _class: Any, arguments: Any, _state: Any) -> Any:
    """Of a tensor with attributes, or of a class derived from it."""
    return rebuild(*arguments) if rebuild in (_rebuild_tensor, _rebuild_parameter) else Placeholder()


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


_ALLOWED = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_subclass,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
}


def _unpacked(value: Any) -> Any:
    """Returns what `unwrap` understands: of a whole pickled model, also inside of dictionaries, its tensors by name."""
    if isinstance(value, Placeholder):
        return dict(_tensors_of(value, ""))
    return {key: _unpacked(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def _tensors_of(module: Placeholder, prefix: str) -> Iterator[tuple[str, _Tensor]]:
    """Yields the tensors of a module of PyTorch, or of TorchScript, which keeps them as its attributes."""
    kinds = [module.state[kind] for kind in _OF_A_MODULE if isinstance(module.state.get(kind), dict)]
    for entries in kinds or [module.state]:
        for name, entry in entries.items():
            if isinstance(entry, _Tensor):
                yield f"{prefix}{name}", entry
            elif isinstance(entry, Placeholder):
                yield from _tensors_of(entry, f"{prefix}{name}.")


def read(path: pathlib.Path, weights: str = "selected") -> unwrapping.Held:
    """Reads a state_dict of a PyTorch file.

    Args:
      path: the file.
      weights: see `unwrapping.unwrap`.

    Raises:
      UserError: it holds no state_dict and no model whose tensors can be found, not these weights, or is damaged.
    """
    try:
        content, storages, unknown = _zip_archive(path) if zipfile.is_zipfile(path) else _stream(path)
        held = unwrapping.unwrap(_unpacked(content), weights, _Tensor)
        arrays = {name: tensor.array(storages) for name, tensor in held.tensors.items()}
        return dataclasses.replace(held, tensors=arrays)
    except unwrapping.NoStateDict as error:
        more = " and more" if len(unknown) > _NAMES_SHOWN else ""
        objects = f", but {', '.join(unknown[:_NAMES_SHOWN])}{more}, which are never run" if unknown else ""
        raise UserError(
            f"{path}: {error}{objects}; save the model's state_dict() in the place it came from, best as .safetensors"
        ) from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} is no whole PyTorch file ({error or type(error).__name__})") from error


def _zip_archive(path: pathlib.Path) -> tuple[Any, dict[str, bytes], list[str]]:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename.split("/", 1)[-1]: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ValueError("its entries are compressed, which PyTorch never does")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
            raise ValueError("it is big-endian")
        unpickler = _Unpickler(io.BytesIO(archive.read(entries["data.pkl"])))
        content = unpickler.load()
        storages = {key: archive.read(entries[f"data/{key}"]) for key in unpickler.storages}
    return content, storages, list(unpickler.unknown)


def _stream(path: pathlib.Path) -> tuple[Any, dict[str, bytes], list[str]]:
    with path.open("rb") as file:
        unpickler = _Unpickler(file)
        magic = unpickler.load()
        if unpickler.unknown:  # by pickle.dump, not by torch.save
            return magic, {}, list(unpickler.unknown)
        if magic != _STREAM_MAGIC:
            raise ValueError("unknown format")
        for _ in ("protocol", "system"):
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        content = unpickler.load()
        storages = {}
        for key in _Unpickler(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            size = count * np.dtype(unpickler.storages[key].dtype).itemsize
            storages[key] = file.read(size)
            if len(storages[key]) != size:
                raise EOFError("it is cut off")
    return content, storages, list(unpickler.unknown)
