"""Writing weight files as other implementations do, without them."""

import json
import pathlib
import struct

import numpy as np

_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}


def write_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    header, parts, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, array in tensors.items():
        parts.append(np.ascontiguousarray(array).tobytes())
        end = offset + len(parts[-1])
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"".join(parts))


def by_layer(tensors: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """{"layer/kernel": array, "layer/bias": array} -> {"layer": [kernel, bias]}."""
    layers: dict[str, list[np.ndarray]] = {}
    for name, array in tensors.items():
        layers.setdefault(name.rsplit("/", 1)[0], []).append(array)
    return layers


def write_keras2(path: pathlib.Path, tensors: dict[str, np.ndarray], suffix: str = ":0") -> None:
    """Keras 2: attributes list layers and weights; layers without weights are listed as well."""
    import h5py

    layers = by_layer(tensors)
    leaves = {name.rsplit("/", 1)[0]: [] for name in tensors}
    for name in tensors:
        leaves[name.rsplit("/", 1)[0]].append(f"{name}{suffix}".encode())
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"rescaling", *(layer.encode() for layer in layers)]
        file.create_group("rescaling").attrs["weight_names"] = np.array([], "S1")
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = leaves[layer]
            for name, array in zip(leaves[layer], arrays):
                group[name.decode()] = array


def write_keras3(path: pathlib.Path, tensors: dict[str, np.ndarray], classes: dict[str, str], named: bool) -> None:
    """Keras 3: layers/<class>_<n>/vars/<i>, in newer versions with the layer's name as an attribute.

    Args:
      path: file to write.
      tensors: {"layer/kernel": array}.
      classes: layer -> "<class>_<n>".
      named: write the names.
    """
    import h5py

    with h5py.File(path, "w") as file:
        for layer, arrays in by_layer(tensors).items():
            group = file.create_group(f"layers/{classes[layer]}/vars")
            if named:
                group.attrs["name"] = layer
            for index, array in enumerate(arrays):
                group[str(index)] = array
