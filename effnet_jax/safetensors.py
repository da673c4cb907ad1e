"""The safetensors format: a header's length, a JSON header and a flat buffer. NumPy alone has no bfloat16."""

import json
import pathlib
import struct

import ml_dtypes
import numpy as np

from effnet_jax.errors import UserError
from effnet_jax.process.atomic import whole_file

METADATA = "__metadata__"
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def read(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads the tensors of a file and the texts in its header.

    Raises:
      UserError: the file is damaged.
    """
    content = path.read_bytes()
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        buffer = memoryview(content)[8 + length :]
        texts = header.pop(METADATA, {})
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            values = np.frombuffer(buffer[start:end], _DTYPES[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error})") from error
    return tensors, texts


def write(path: pathlib.Path, tensors: dict[str, np.ndarray], texts: dict[str, str]) -> None:
    """Writes tensors, and texts into the header.

    Raises:
      UserError: the file cannot be written there.
    """
    header: dict[str, object] = {METADATA: texts}
    offset = 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the buffer starts aligned
    with whole_file(path) as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())
