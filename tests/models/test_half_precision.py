"""Every family in bfloat16, compiled whole: what is summed over a map is finite and near float32.

XLA:CPU may make one call of the last layers and the sum that follows; see `chain._written`. As for a user of the
library, no flag tells it not to.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import effnet_jax
from effnet_jax.architecture import baselines, scaling
from tests import short
from tests.checkpoints import random_variables

SMALL = {"width_multiplier": 0.05}  # of `two_blocks`
MODELS = {"efficientnet_b0": SMALL, "resnet50": {}, "resnet152": {}, "densenet201": {}}


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Every kind of layer once or twice, at the channels of the real networks."""
    monkeypatch.setitem(baselines.RESNET_BLOCKS, "resnet50", (2, 1, 2))
    monkeypatch.setitem(baselines.RESNET_BLOCKS, "resnet152", (1, 2, 1))
    monkeypatch.setitem(baselines.DENSENET_BLOCKS, "densenet201", (2, 3))
    monkeypatch.setattr(scaling, "round_repeats", short.two_blocks)


def pooled(fmap):
    return jnp.mean(fmap, axis=(1, 2), dtype=jnp.float32)


@pytest.mark.parametrize("name", MODELS)
def test_sums_over_maps_in_bfloat16_are_those_of_float32(name):
    full, half = (
        effnet_jax.create_model(name, 7, stem_stride=1, allow_1x1_map=True, dtype=dtype, **MODELS[name])
        for dtype in ("float32", "bfloat16")
    )
    images = jax.random.normal(jax.random.key(0), (2, 13, 13, 3))
    variables = random_variables(full.architecture, 7)
    layers = full.layer_names

    @jax.jit
    def in_float32(variables, images):
        maps = full.apply(variables, images, layers, method="intermediates")
        return full.apply(variables, images, train=False), jax.tree.map(pooled, maps)

    def in_bfloat16(layer):
        # A program for each layer: where a map has more readers than its mean, XLA keeps the two apart.
        mean = jax.jit(lambda v, x: pooled(half.apply(v, x, layer=layer, method="features")))
        return mean(variables, images)

    logits, means = in_float32(variables, images)
    found = {"logits": jax.jit(lambda v, x: half.apply(v, x, train=False))(variables, images)}
    found |= {layer: in_bfloat16(layer) for layer in layers}
    for what, expected in {"logits": logits, **means}.items():
        assert np.isfinite(found[what]).all(), what
        tolerance = 0.1 * np.abs(expected).max()
        np.testing.assert_allclose(found[what], expected, rtol=0, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_statistics_in_bfloat16_are_near_those_of_float32(name):
    images, labels = jax.random.normal(jax.random.key(0), (4, 13, 13, 3)), jnp.arange(4)
    options = {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0, **MODELS[name]}
    found = {}
    for dtype in ("float32", "bfloat16"):
        model = effnet_jax.create_model(name, 7, stem_stride=1, allow_1x1_map=True, dtype=dtype, **options)
        variables = random_variables(model.architecture, 7)

        def loss(params, model=model, variables=variables):
            logits, moved = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
            return -jax.nn.log_softmax(logits)[jnp.arange(4), labels].mean(), moved

        found[dtype] = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    (gradient, statistics), (half_gradient, half_statistics) = (
        [np.concatenate([np.ravel(a) for a in jax.tree.leaves(tree)]) for tree in found[dtype]] for dtype in found
    )
    norm = np.linalg.norm
    assert norm(half_statistics - statistics) < 1e-3 * norm(statistics)  # 6e-5 were found
    assert gradient @ half_gradient > 0.93 * norm(gradient) * norm(half_gradient)  # 0.96 to 1.00
