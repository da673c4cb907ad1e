"""Steps as an accelerator runs them, against those of a CPU."""

import jax
import numpy as np
import pytest

from effnet_jax.architecture import scaling
from effnet_jax.process import sharding, target
from effnet_jax.training import setup
from tests import short


@pytest.fixture
def config(tiny_config, monkeypatch):
    monkeypatch.setattr(scaling, "round_repeats", short.two_blocks)
    short.train_on_one_device(monkeypatch)
    tiny_config.steps_per_dispatch = 2
    tiny_config.model.width_multiplier = 0.1
    tiny_config.model.dropout_rate = 0.0
    tiny_config.model.stochastic_depth_rate = 0.0
    tiny_config.optimizer.name = "sgd"
    tiny_config.optimizer.warmup_epochs = 0.0
    return tiny_config


def after(config, counts, start):
    built = setup.build(config)
    state, feed, done = sharding.put_replicated(start, built.mesh), built.feeds(0, None).at(0), 0
    for count in counts:
        state, token = built.train_steps(state, feed, count)
        done += count
        assert int(token) == done * config.batch_size
    return jax.device_get(state)


def test_steps_for_accelerators_equal_those_for_cpus(config):
    start = jax.device_get(setup.build(config).fresh_state())
    expected = after(config, [2, 1], start)
    jax.clear_caches()
    with target.tracing_for("cuda"):
        found = after(config, [2, 1], start)
    jax.clear_caches()
    assert int(found.step) == 3
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params)):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)


def test_a_loop_of_usual_length_is_known_to_the_compiler(config):
    jax.clear_caches()
    with target.tracing_for("cuda"):
        built = setup.build(config)
        state, feed = built.abstract_state(), built.feeds(0, None).at(0)
        usual = jax.make_jaxpr(lambda state, feed: built.train_steps(state, feed, 2))(state, feed)
        left = jax.make_jaxpr(lambda state, feed: built.train_steps(state, feed, 1))(state, feed)
    jax.clear_caches()
    assert "while[" not in str(usual) and "length=2" in str(usual)
    assert "while[" not in str(left)
