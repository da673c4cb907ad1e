import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.models import layers
from effnet_jax.models.registry import create_model


def test_depthwise_kernels_start_without_a_factor_of_channels():
    kernel = layers.depthwise_init(jax.random.key(0), (5, 5, 1, 4096), jnp.float32)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 25), rtol=0.02)


def test_convolution_and_classifier_initialisers():
    kernel = layers.conv_init(jax.random.key(0), (3, 3, 64, 512), jnp.float32)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 512)), rtol=0.02)
    dense = layers.dense_init(jax.random.key(0), (1280, 100), jnp.float32)
    assert np.abs(dense).max() <= 0.1
    np.testing.assert_allclose(np.abs(dense).max(), 0.1, rtol=0.01)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_expectation():
    layer = layers.StochasticDepth(survival_probability=0.8)
    x = jnp.ones((20_000, 2, 2, 3))
    y = np.asarray(layer.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    per_sample = y.reshape(len(y), -1)
    assert (per_sample == per_sample[:, :1]).all(), "a sample must live or die as a whole"
    np.testing.assert_allclose(np.unique(per_sample), [0, 1.25], rtol=1e-6)
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.02)
    np.testing.assert_array_equal(layer.apply({}, x, False), x)


def test_survival_falls_linearly_from_one_at_the_first_block():
    model = create_model("efficientnet_b0", stochastic_depth_rate=0.2)
    bound = model.bind({})
    survival = [getattr(bound, block.name).survival_probability for block in model.architecture.blocks]
    np.testing.assert_allclose(survival, 1 - 0.2 * np.arange(16) / 16)


def test_batch_norm_moves_its_statistics_and_normalises():
    numerics = layers.Numerics(bn_momentum=0.9)
    x = jax.random.normal(jax.random.key(0), (32, 5, 5, 4)) * 3 + 1
    layer = layers.BatchNorm(numerics)
    variables = layer.init(jax.random.key(1), x, False)
    y, mutated = layer.apply(variables, x, True, mutable=["batch_stats"])
    mean, var = np.mean(x, axis=(0, 1, 2)), np.var(x, axis=(0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-3), atol=1e-4)
    np.testing.assert_allclose(mutated["batch_stats"]["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(mutated["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-4)
    inference = layer.apply({**variables, **mutated}, x, False)
    expected = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 1e-3)
    np.testing.assert_allclose(inference, expected, atol=1e-4)


@pytest.mark.parametrize("reduced", [1, 4])
def test_squeeze_excite_gates_channels_by_their_pooled_values(reduced):
    layer = layers.SqueezeExcite(reduced, layers.Numerics())
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 8))
    variables = layer.init(jax.random.key(1), x)
    p = jax.tree.map(np.asarray, variables["params"])
    pooled = np.asarray(x).mean((1, 2))
    hidden = pooled @ p["reduce"]["kernel"] + p["reduce"]["bias"]
    hidden = hidden / (1 + np.exp(-hidden))
    gates = 1 / (1 + np.exp(-(hidden @ p["expand"]["kernel"] + p["expand"]["bias"])))
    np.testing.assert_allclose(layer.apply(variables, x), gates, rtol=1e-5)
