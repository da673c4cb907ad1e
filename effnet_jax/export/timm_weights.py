"""From a checkpoint of this project to a weight file that timm loads."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from effnet_jax import safetensors
from effnet_jax.architecture import scaling
from effnet_jax.architecture.description import IN_CHANNELS
from effnet_jax.errors import UserError
from effnet_jax.models.registry import create_model
from effnet_jax.pretrained import timm
from effnet_jax.pretrained.variables import variables
from effnet_jax.training import checkpoint


@dataclasses.dataclass(frozen=True)
class Exported:
    """Weights under timm's names.

    Attributes:
      tensors: {timm's name: array}.
      instructions: lines of Python that make the model in timm, without loading the weights.
      metadata: preprocessing and class names.
    """

    tensors: dict[str, np.ndarray]
    instructions: tuple[str, ...]
    metadata: dict[str, Any]


def to_timm(loaded: checkpoint.Loaded) -> Exported:
    """Converts a checkpoint.

    Raises:
      UserError: timm has no such model.
    """
    options = loaded.metadata["model"]
    if options["name"] not in scaling.FAMILY:
        raise UserError(f"only EfficientNets are exported to timm, and this is a {options['name']}")
    model = create_model(**options)
    published = scaling.variant(options["name"])
    if (model.width_multiplier, model.depth_multiplier) != (
        published.width_multiplier,
        published.depth_multiplier,
    ):
        raise UserError(f"timm has no {options['name']} with other width and depth multipliers than its own")
    arch, source = model.architecture, timm.SOURCE
    arrays = flatten_dict(loaded.variables, sep="/")
    names = source.names(arch, variables(arch, model.num_classes))
    tensors = {
        name: np.ascontiguousarray(source.layout.to_file(variable, np.asarray(arrays[variable.path], np.float32)))
        for name, variable in names.items()
    }
    suffix = source.layout.batch_norm_leaves["var"]
    counters = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    tensors |= {f"{layer}.num_batches_tracked": np.zeros((), np.int64) for layer in counters}
    prefix = timm.TF_PREFIX if model.numerics.padding == "SAME" else ""
    timm_name = prefix + options["name"]
    epsilon = model.numerics.bn_epsilon
    other_epsilon = "" if epsilon == timm.settings(timm_name).bn_epsilon else f", bn_eps={epsilon:g}"
    other_channels = "" if model.in_channels == IN_CHANNELS else f", in_chans={model.in_channels}"
    instructions = (
        f"model = timm.create_model({timm_name!r}, num_classes={model.num_classes}{other_channels}{other_epsilon})",
        *_stride_changes(arch, model.numerics.padding),
    )
    kept = ("preprocess", "class_names")
    return Exported(tensors, instructions, {key: loaded.metadata[key] for key in kept})


def write_safetensors(path: pathlib.Path, exported: Exported) -> None:
    """Writes the tensors, with the instructions and the metadata in the header.

    Raises:
      UserError: the file cannot be written there.
    """
    texts = {"format": "pt", "timm": "\n".join(exported.instructions)}
    safetensors.write(
        path, exported.tensors, texts | {key: json.dumps(value) for key, value in exported.metadata.items()}
    )


def _stride_changes(arch: scaling.Architecture, padding: str) -> list[str]:
    """Returns statements that give timm's model the strides of `arch`.

    timm pads its layers of stride 1 evenly also in the TensorFlow-like models, so there a stride can only
    be made smaller.
    """
    names = timm.layers(arch)
    pairs = [("conv_stem", arch.stem_stride, scaling.B0_STEM_STRIDE)]
    for number, stride in enumerate(scaling.B0_STAGE_STRIDES, start=1):
        first = next(block for block in arch.blocks if block.stage == number)
        pairs.append((names[f"{first.name}/depthwise_conv"], first.stride, stride))
    if padding == "SAME" and any(ours > theirs for _, ours, theirs in pairs):
        raise UserError("timm's models with TensorFlow's padding cannot be given larger strides than their own")
    return [f"model.get_submodule({name!r}).stride = ({ours}, {ours})" for name, ours, their in pairs if ours != their]
