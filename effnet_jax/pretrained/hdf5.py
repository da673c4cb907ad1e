"""Reading Keras's weight files, .h5, .weights.h5 and .keras, without Keras."""

import io
import pathlib
import zipfile
from typing import Any

import numpy as np

from effnet_jax.errors import UserError

# Names of a layer's arrays by how many it has; every version of Keras stores them in this order.
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_NORMALIZATION = ("mean", "variance", "count")
_KERNEL = ("kernel", "bias")
_NAMES = {1: _KERNEL, 2: _KERNEL, 3: _NORMALIZATION, 4: _BATCH_NORM}
_WEIGHTS_ENTRY = "model.weights.h5"  # of a .keras archive


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads {"layer/kernel": array, ...}.

    Raises:
      UserError: the file is damaged or holds no weights of Keras, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading {path.name} needs the h5py package: pip install h5py") from error
    try:
        opened: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                opened = io.BytesIO(archive.read(_WEIGHTS_ENTRY))
        with h5py.File(opened, "r") as file:
            if "layers" in file:
                layers = _numbered_layers(file["layers"])
            else:
                layers = _listed_layers(file.get("model_weights", file))
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no whole weight file of Keras ({error})") from error
    tensors = {}
    for layer, arrays in layers.items():
        if len(arrays) not in _NAMES:
            raise UserError(
                f"{path}: the layer {layer!r} holds {len(arrays)} arrays, which is more than a layer of an "
                "EfficientNet has; a model inside another one has to be saved on its own"
            )
        tensors |= {f"{layer}/{name}": array for name, array in zip(_NAMES[len(arrays)], arrays)}
    if not tensors:
        raise UserError(f"{path} holds no weights")
    return tensors


def _numbered_layers(group: Any) -> dict[str, list[np.ndarray]]:
    """Keras 3: layers/<class>_<n>/vars/<i>; newer versions note the layer's name beside."""
    layers = {}
    for key, layer in group.items():
        stored = layer.get("vars", {})
        if len(stored):
            # A normalisation layer's name is made up anew each time; its class says more.
            name = key if key.startswith("normalization") else stored.attrs.get("name", key)
            layers[str(name)] = [np.asarray(stored[str(i)]) for i in range(len(stored))]
    return layers


def _listed_layers(group: Any) -> dict[str, list[np.ndarray]]:
    """Keras 2, and .h5 of any version: names of layers and of their arrays as attributes."""
    layers = {}
    for layer in map(_text, group.attrs["layer_names"]):
        names = [_text(name) for name in group[layer].attrs["weight_names"]]
        if names:
            key = "normalization" if layer.startswith("normalization") else layer
            layers[key] = [np.asarray(group[layer][name]) for name in names]
    return layers


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
