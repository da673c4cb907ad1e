"""The BatchNorms of a trained network made part of the convolutions before them, for inference.

With given statistics a BatchNorm multiplies each channel by a factor and adds a shift. The factor goes into the kernel
of the convolution before it; the shift stays where the BatchNorm was. Without a convolution before it, as in a
DenseNet, both stay.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax.architecture.baselines import Baseline
from effnet_jax.models.layers import FACTOR, SHIFT


def fold(
    model: nn.Module, variables: Mapping[str, Any], put: Callable[[np.ndarray], Any] = lambda array: array
) -> dict[str, Any]:
    """Folds every BatchNorm; `model.apply(folded, images, train=False)` gives what it gave, to rounding.

    Args:
      model: of `create_model`.
      variables: {"params", "batch_stats"} of it. What is folded already stays as it is.
      put: places an array where it is to be. Each is placed as soon as it is made: all of them on the host and on a
        device would be twice the memory of the network.

    Returns:
      {"params", "batch_stats"}, the latter empty; computed in float64. In place of "scale" and "bias" a BatchNorm has
      "shift" and, where no convolution stands before it, "factor". Such a network cannot be trained.
    """
    params, stats = (flatten_dict(variables.get(name, {})) for name in ("params", "batch_stats"))
    convolutions = _convolutions_before_norms(model.architecture)
    folded, factors = dict(params), {}
    for norm in (path[:-1] for path in stats if path[-1] == "mean"):
        scale, bias = (np.asarray(folded.pop((*norm, name))) for name in ("scale", "bias"))
        mean, var = (np.asarray(stats[*norm, name], np.float64) for name in ("mean", "var"))
        factor = scale / np.sqrt(var + model.numerics.bn_epsilon)
        folded[*norm, SHIFT] = np.asarray(bias - mean * factor, bias.dtype)
        conv = convolutions.get(norm, norm[-1].replace("bn", "conv"))
        if conv is None:
            folded[*norm, FACTOR] = np.asarray(factor, scale.dtype)
        else:
            factors[*norm[:-1], conv, "kernel"] = factor
    for path, array in folded.items():
        if path in factors:  # a kernel's last axis is its outputs, of a depthwise one as of others
            array = np.asarray(np.asarray(array) * factors[path], array.dtype)
        folded[path] = put(array)
    return {"params": unflatten_dict(folded), "batch_stats": {}}


def is_folded(variables: Mapping[str, Any]) -> bool:
    """Whether these are variables that `fold` returned."""
    return any(path[-1] == SHIFT for path in flatten_dict(variables["params"]))


def _convolutions_before_norms(architecture: Any) -> dict[tuple[str, str], str | None]:
    """Where the BatchNorm of a convolution, "NAME_bn" beside "NAME_conv", does not stand behind it: what does.

    That is so in a DenseNet behind its stem.
    """
    if not isinstance(architecture, Baseline):
        return {}
    found: dict[tuple[str, str], str | None] = {}
    for layer in architecture.layers:
        if layer.operator in ("DenseLayer", "Transition", "BatchNorm"):
            before = [None, *(conv.conv_name for conv in layer.convolutions)]
            norms = [conv.norm_name for conv in layer.convolutions] or ["bn"]
            found |= {(layer.module_name, norm): conv for norm, conv in zip(norms, before)}
    return found
