"""Every array of a model, or of a checkpoint with its mean and spread, as tables of clu.parameter_overview."""

import functools

import jax
import jax.numpy as jnp
from clu import parameter_overview

from effnet_jax.models.registry import create_model
from effnet_jax.training import checkpoint


def of_model(name: str, num_classes: int, width_multiplier: float, depth_multiplier: float, in_channels: int) -> str:
    """Returns names, shapes and sizes of the parameters and BatchNorm statistics of a model; computes nothing.

    Raises:
      UserError: an unknown name or impossible multipliers.
    """
    model = create_model(
        name,
        num_classes,
        width_multiplier=width_multiplier,
        depth_multiplier=depth_multiplier,
        allow_1x1_map=True,
        in_channels=in_channels,
    )
    # No shape depends on the size of the images.
    images = jax.ShapeDtypeStruct((1, 64, 64, in_channels), jnp.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return parameter_overview.get_parameter_overview(variables, include_stats=False)


def of_checkpoint(path: str, weights: str) -> str:
    """Returns the same of a checkpoint, with mean and standard deviation: dead or diverged layers stand out.

    Args:
      path, weights: see `checkpoint.load`.

    Raises:
      UserError: there is no checkpoint.
    """
    loaded = checkpoint.load(path, weights)
    title = f"{loaded.metadata['model']['name']}, step {loaded.step}, {'ema' if loaded.ema else 'raw'} weights"
    return title + "\n" + parameter_overview.get_parameter_overview(loaded.variables, include_stats=True)
