import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from effnet_jax.models.layers import Numerics
from effnet_jax.training.state import create_state
from effnet_jax.training.step import cross_entropy, make_update, rank_of_label


class Linear(nn.Module):
    """A classifier without BatchNorm, so that microbatches add up exactly; it has a statistic all the same."""

    numerics: Numerics = Numerics(bn_momentum=0.9)

    @nn.compact
    def __call__(self, x, train):
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if train:
            keep = self.numerics.bn_momentum
            mean.value = keep * mean.value + (1 - keep) * jnp.mean(x)
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


def linear_state(tx, ema=True):
    variables = Linear().init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)), train=False)
    return create_state(variables, tx, ema)


def batch_of(seed, count=8):
    image_key, label_key = jax.random.split(jax.random.key(seed))
    images = jax.random.normal(image_key, (count, 2, 2, 3))
    return {"image": images, "label": jax.random.randint(label_key, (count,), 0, 3)}


def update_of(tx, ema_decay=0.0, accumulation_steps=1, label_smoothing=0.0):
    return jax.jit(
        make_update(
            Linear(),
            tx,
            jax.random.key(7),
            label_smoothing=label_smoothing,
            ema_decay=ema_decay,
            accumulation_steps=accumulation_steps,
        )
    )


def test_cross_entropy_with_label_smoothing_equals_its_definition():
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    labels = np.array([0, 3, 4, 1])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.full((4, 5), 0.1 / 5)
    target[np.arange(4), labels] += 0.9
    np.testing.assert_allclose(
        cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.1), -(target * log_p).sum(-1), rtol=1e-5
    )
    one_hot = jax.nn.one_hot(labels, 5)
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits), one_hot), -log_p[np.arange(4), labels], rtol=1e-5)


def test_rank_gives_nothing_for_ties_and_nan():
    logits = jnp.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [np.nan] * 3, [0.0, 5.0, 9.0]])
    np.testing.assert_array_equal(rank_of_label(logits, jnp.array([1, 0, 0, 2])), [1, 2, 2, 0])


def test_accumulated_microbatches_give_the_gradient_of_the_whole_batch():
    tx = optax.sgd(1.0)
    whole = update_of(tx)(linear_state(tx), batch_of(1))
    split = update_of(tx, accumulation_steps=4)(linear_state(tx), batch_of(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole.params, split.params)
    for key in ("loss", "correct", "top5_correct", "count"):
        np.testing.assert_allclose(whole.metrics[key], split.metrics[key], rtol=1e-5)
    micro_means = batch_of(1)["image"].reshape(2, 4, -1).mean(axis=(0, 2))  # of every fourth example
    mean = 0.0
    for number, micro_mean in enumerate(micro_means):  # the statistics saw each microbatch
        mean += 9 / (10 + number) * (micro_mean - mean)
    np.testing.assert_allclose(split.batch_stats["mean"], mean, rtol=1e-5)


def test_ema_follows_its_warm_up_and_covers_statistics():
    tx = optax.sgd(0.5)
    state, update = linear_state(tx), update_of(tx, ema_decay=0.5)
    expected = state.averaged_variables()
    for step in range(12):
        state = update(state, batch_of(step))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = jax.tree.map(lambda e, v, d=decay: d * e + (1 - d) * np.asarray(v), expected, state.variables)
    found = state.averaged_variables()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)
    assert found["batch_stats"]["mean"] != 0


def test_statistics_forget_their_start_and_then_follow_the_momentum():
    tx = optax.sgd(0.5)
    state, update = linear_state(tx), update_of(tx)
    state = state.replace(batch_stats={"mean": jnp.float32(1000.0)})
    expected = 1000.0
    for step in range(120):
        batch = batch_of(step)
        state = update(state, batch)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * float(batch["image"].mean())
        if step == 10:
            assert abs(state.batch_stats["mean"]) < 1  # plain momentum would have left 314
    np.testing.assert_allclose(state.batch_stats["mean"], expected, rtol=1e-4, atol=1e-6)


def test_without_ema_the_state_carries_none():
    tx = optax.sgd(0.5)
    state = update_of(tx)(linear_state(tx, ema=False), batch_of(0))
    assert state.ema is None


def test_metrics_add_up_and_the_first_bad_step_sticks():
    tx = optax.sgd(0.0)
    state, update = linear_state(tx), update_of(tx)
    broken = batch_of(0) | {"image": jnp.full((8, 2, 2, 3), jnp.nan)}
    state = update(state, batch_of(0))
    assert state.metrics["count"] == 8 and state.metrics["first_bad_step"] == -1
    state = update(update(state, broken), broken)
    assert state.metrics["count"] == 24 and state.metrics["first_bad_step"] == 1


def test_a_step_depends_on_nothing_but_state_and_batch():
    tx = optax.adam(0.1)
    first = update_of(tx)(linear_state(tx), batch_of(3))
    second = update_of(tx)(linear_state(tx), batch_of(3))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_mixed_labels_are_learned_in_their_shares_and_counted_by_the_larger_one():
    tx = optax.sgd(0.0)
    batch = batch_of(0)
    logits = Linear().apply(linear_state(tx).variables, batch["image"], train=False)
    best, other = jnp.argmax(logits, -1), jnp.argmin(logits, -1)
    labels = 0.6 * jax.nn.one_hot(best, 3) + 0.4 * jax.nn.one_hot(other, 3)
    metrics = update_of(tx)(linear_state(tx), batch | {"label": labels}).metrics
    assert metrics["correct"] == 8
    expected = 0.6 * cross_entropy(logits, best) + 0.4 * cross_entropy(logits, other)
    np.testing.assert_allclose(metrics["loss"], expected.sum(), rtol=1e-5)
    labels = 0.4 * jax.nn.one_hot(best, 3) + 0.6 * jax.nn.one_hot(other, 3)
    assert update_of(tx)(linear_state(tx), batch | {"label": labels}).metrics["correct"] == 0


@pytest.mark.parametrize("count", [8, 16])
def test_loss_metric_is_the_sum_over_examples(count):
    tx = optax.sgd(0.0)
    state = update_of(tx)(linear_state(tx), batch_of(0, count))
    logits = Linear().apply(linear_state(tx).variables, batch_of(0, count)["image"], train=False)
    expected = float(jnp.sum(cross_entropy(logits, batch_of(0, count)["label"])))
    np.testing.assert_allclose(state.metrics["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("tx", [optax.sgd(0.1, momentum=0.9), optax.flatten(optax.adam(0.01))])
def test_update_for_accelerators_equals_the_one_for_cpus(tx, monkeypatch):
    def after_three_steps():
        state, update = linear_state(tx), update_of(tx, ema_decay=0.9)
        for step in range(3):
            state = update(state, batch_of(step))
        return state

    on_cpu = after_three_steps()
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arguments, default, **_: default(*arguments))
    # A weight near zero is what larger ones left when they cancelled, to within their rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), on_cpu, after_three_steps())
