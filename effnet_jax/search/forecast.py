"""How long a study will take, by the first steps of a run or by the runs that have ended. Imports no JAX."""

from collections.abc import Mapping, Sequence

import ml_collections

from effnet_jax.architecture import catalog


def cost(config: ml_collections.ConfigDict) -> int:
    """Returns the MACs an image of a run; the runs of a study see as many images each, so it stands for their time."""
    model = config.model
    strides = None if model.stage_strides is None else tuple(model.stage_strides)
    arch = catalog.architecture(model.name, model.width_multiplier, model.depth_multiplier, model.stem_stride, strides)
    return arch.count(config.dataset.resolution, model.num_classes).macs


def seconds_left(costs: Mapping[str, int], seconds: Mapping[str, float], left: Sequence[str]) -> float:
    """Returns how long the runs `left` will take one after the other.

    Args:
      costs: of every run, by name.
      seconds: what runs took, or will take by their first steps.
      left: names of the others.
    """
    return sum(seconds.values()) / sum(costs[name] for name in seconds) * sum(costs[name] for name in left)


def in_words(seconds: float) -> str:
    """Returns a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
