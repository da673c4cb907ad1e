"""Reading weight files into {name: array}. Neither torch nor TensorFlow is needed for any but TF checkpoints."""

import pathlib
from collections.abc import Callable

from effnet_jax import safetensors
from effnet_jax.errors import UserError
from effnet_jax.pretrained import hdf5, pickled, unwrapping
from effnet_jax.pretrained.sources import Tensors
from effnet_jax.pretrained.unwrapping import Held


def read(path: pathlib.Path, weights: str = "selected") -> Held:
    """Reads every tensor of a weight file; the kind of file follows from its name.

    Args:
      path: the file.
      weights: "raw", "ema", or "selected" for the averages where a file of PyTorch holds both. Every other kind of
        file holds one set of weights, taken for raw.

    Raises:
      UserError: no such file, an unknown kind, one that cannot be read whole, or without these weights.
    """
    if path.with_name(path.name + ".index").is_file():
        return _alone(_tensorflow_checkpoint(path), path, weights)
    if not path.is_file():
        raise UserError(f"there is no weight file {path}")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is an empty file")
    if path.suffix not in (*_READERS, *_TORCH):
        raise UserError(f"{path.name} is of no kind that can be read: {', '.join((*_READERS, *_TORCH))}")
    if path.suffix in _TORCH:
        return pickled.read(path, weights)
    return _alone(_READERS[path.suffix](path), path, weights)


def _alone(tensors: Tensors, path: pathlib.Path, weights: str) -> Held:
    if weights == "ema":
        raise UserError(
            f"{path} holds one set of weights, which it does not call averages; leave out the choice of ema"
        )
    return Held(tensors, ema=False, other=False)


def _safetensors(path: pathlib.Path) -> Tensors:
    return unwrapping.without_prefixes(safetensors.read(path)[0])


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


_TORCH = (".pth", ".pt", ".bin", ".tar", ".ckpt")  # timm's script writes model_best.pth.tar, Lightning .ckpt
_READERS: dict[str, Callable[[pathlib.Path], Tensors]] = {
    ".safetensors": _safetensors,
    ".h5": hdf5.read,
    ".hdf5": hdf5.read,
    ".keras": hdf5.read,
}
