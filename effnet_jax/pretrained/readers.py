"""Reading weight files into {name: array}. Neither torch nor TensorFlow is needed for any but TF checkpoints."""

import pathlib
from collections.abc import Callable

from effnet_jax import safetensors
from effnet_jax.errors import UserError
from effnet_jax.pretrained import hdf5, pickled
from effnet_jax.pretrained.sources import Tensors


def read(path: pathlib.Path) -> Tensors:
    """Reads every tensor of a weight file; the kind of file follows from its name.

    Raises:
      UserError: no such file, an unknown kind, or one that cannot be read whole.
    """
    if path.with_name(path.name + ".index").is_file():
        return _tensorflow_checkpoint(path)
    if not path.is_file():
        raise UserError(f"there is no weight file {path}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file")
    if path.suffix not in _READERS:
        raise UserError(f"{path.name} is of no kind that can be read: {', '.join(_READERS)}")
    return _READERS[path.suffix](path)


def _safetensors(path: pathlib.Path) -> Tensors:
    return safetensors.read(path)[0]


def _tensorflow_checkpoint(path: pathlib.Path) -> Tensors:
    """Reads a TensorFlow checkpoint, moving averages before raw values, under names without the model's."""
    try:
        import tensorflow
    except ImportError as error:
        raise UserError(
            "reading a TensorFlow checkpoint needs the tensorflow package (pip install tensorflow); "
            "the same weights as .safetensors, .pth or .h5 need nothing more"
        ) from error
    reader = tensorflow.train.load_checkpoint(str(path))
    return without_slots({name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})


def without_slots(tensors: Tensors) -> Tensors:
    """Drops the optimiser's slots and the model's name; a moving average takes the place of its variable."""
    average, slots = "/ExponentialMovingAverage", ("/RMSProp", "/RMSProp_1", "/Momentum")
    kept = {}
    for name, values in tensors.items():
        variable = name.removesuffix(average)
        if not name.endswith(slots) and (name == variable or variable not in kept):
            kept[variable] = tensors.get(variable + average, values)
    return {name.split("/", 1)[-1]: values for name, values in kept.items()}


_READERS: dict[str, Callable[[pathlib.Path], Tensors]] = {
    ".safetensors": _safetensors,
    ".pth": pickled.read,
    ".pt": pickled.read,
    ".bin": pickled.read,
    ".h5": hdf5.read,
    ".hdf5": hdf5.read,
    ".keras": hdf5.read,
}
