"""Random weights with which a comparison in float32 means something.

Plain random weights let activations grow or die over fifty blocks, and rounding alone then exceeds any useful
tolerance. Here BatchNorm statistics come from a pass in training mode and are then perturbed, their variances
are floored, and the last BatchNorm of every residual branch has a small scale.
"""

import functools

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax import create_model
from effnet_jax.pretrained.variables import CLASSIFIER, variables

RESOLUTION, BATCH = 96, 2
RESIDUAL_SCALE = 0.1
VARIANCE_FLOOR = 0.25  # of the mean variance of the layer


@functools.lru_cache(maxsize=2)
def well_conditioned(name: str, num_classes: int, seed: int = 0) -> dict:
    """Variables {"params", "batch_stats"} of a published model, float32 NumPy arrays."""
    model = create_model(name, num_classes, dropout_rate=0.0, stochastic_depth_rate=0.0, bn_momentum=0.0)
    rng = np.random.default_rng(seed)
    residual_ends = model.architecture.residual_ends
    flat = {}
    for variable in variables(model.architecture, num_classes):
        noise = rng.standard_normal(variable.shape)
        if variable.leaf == "kernel":
            fan_in = int(np.prod(variable.shape[:-1]))
            values = noise * np.sqrt((1 if variable.layer == CLASSIFIER else 2) / fan_in)
        elif variable.leaf == "scale":
            small = variable.layer == f"{variable.block}/{residual_ends.get(variable.block)}_bn"
            values = (1 + 0.1 * noise) * (RESIDUAL_SCALE if small else 1)
        else:
            values = 0.1 * noise
        flat[variable.path] = values.astype(np.float32)
    # bn_momentum=0: the moving statistics become those of this one batch.
    images = rng.standard_normal((BATCH, RESOLUTION, RESOLUTION, 3)).astype(np.float32)
    train = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[1])
    statistics = jax.device_get(train(nest(flat), images))
    for path, values in flatten_dict(statistics, sep="/").items():
        if path.endswith("/var"):
            spread = np.exp(0.1 * rng.standard_normal(values.shape))
            flat[path] = (np.maximum(values, VARIANCE_FLOOR * values.mean()) * spread).astype(np.float32)
    for path, values in flatten_dict(statistics, sep="/").items():
        if path.endswith("/mean"):
            deviation = np.sqrt(flat[path.removesuffix("mean") + "var"])
            flat[path] = (values + 0.1 * deviation * rng.standard_normal(values.shape)).astype(np.float32)
    return nest(flat)


def nest(flat: dict) -> dict:
    """{"params/stem/...": array} as nested dictionaries."""
    return unflatten_dict({tuple(path.split("/")): values for path, values in flat.items()})


@functools.lru_cache(maxsize=8)
def jitted(name: str, num_classes: int, padding: str, bn_epsilon: float):
    """A function (variables, images) -> (logits, head map) of one model."""
    model = create_model(name, num_classes, padding=padding, bn_epsilon=bn_epsilon)

    @jax.jit
    def forward(variables, images):
        fmap = model.apply(variables, images, train=False, method="features")
        return model.apply(variables, fmap, train=False, method="head"), fmap

    return forward


def relative_error(ours, reference) -> float:
    """Largest difference as a share of the largest reference value."""
    reference = np.asarray(reference, np.float64)
    return float(np.abs(np.asarray(ours, np.float64) - reference).max() / np.abs(reference).max())


def images(size: int, seed: int = 0, count: int = 1) -> np.ndarray:
    """Normalised noise [count, size, size, 3], float32."""
    return np.random.default_rng([size, seed]).standard_normal((count, size, size, 3)).astype(np.float32)


def to_source(source, model, params) -> dict:
    """Variables under the names and in the layout of a source."""
    flat = flatten_dict(params, sep="/")
    names = source.names(model.architecture, variables(model.architecture, model.num_classes))
    return {
        name: np.ascontiguousarray(source.layout.to_file(variable, flat[variable.path]))
        for name, variable in names.items()
    }
