"""A toy with random weights, a small EfficientNet, and images for both."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import effnet_jax
from effnet_jax.training import checkpoint
from tests.cam.tiny import Tiny
from tests.checkpoints import write_checkpoint


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A checkpoint whose BatchNorm statistics fit its weights, so that its logits are of ordinary size."""
    draft, folder = (tmp_path_factory.mktemp("cam") / name for name in ("draft", "run"))
    write_checkpoint(draft)
    net = effnet_jax.load(draft, fold=False)
    model = net.model.clone(
        numerics=dataclasses.replace(net.model.numerics, bn_momentum=0.0), stochastic_depth_rate=0.0
    )
    statistics = lambda v, x: model.apply(  # noqa: E731
        v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )[1]
    metadata = {
        key: net.metadata[key] for key in ("model", "preprocess", "class_names", "selected_weights", "versions")
    }
    checkpoint.write(folder, {**net.variables, **jax.jit(statistics)(net.variables, coarse_and_fine(96))}, metadata)
    return folder


@pytest.fixture(scope="session")
def efficientnet(run_folder):
    """It as a classifier; head maps of 3x3 pixels."""
    return effnet_jax.load(run_folder)


@pytest.fixture(scope="session")
def net():
    """The toy: .model and .variables, head maps of 4x4 pixels."""
    model = Tiny()
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return types.SimpleNamespace(model=model, variables=variables)


@pytest.fixture(scope="session")
def images():
    """Normalised images [8, 16, 16, 3] with more in them than noise."""
    return jnp.asarray(coarse_and_fine(16), jnp.float32)


def coarse_and_fine(side):
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((8, 4, 4, 3)).repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    return coarse + 0.3 * rng.standard_normal((8, side, side, 3))
