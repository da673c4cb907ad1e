import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from effnet_jax.errors import UserError
from effnet_jax.training import optimizer as optimizer_lib


def options(**changes):
    config = default.get_config().optimizer
    config.update(changes)
    return config


def schedule_of(config, batch_size=256, steps_per_epoch=10, num_train_steps=300):
    return optimizer_lib.learning_rate_schedule(
        config, batch_size=batch_size, steps_per_epoch=steps_per_epoch, num_train_steps=num_train_steps
    )


def test_rmsprop_equals_tensorflows_written_out_in_numpy():
    rng = np.random.default_rng(0)
    w = rng.normal(size=7)
    tx = optimizer_lib.tf_rmsprop(0.02)
    params, state = jnp.asarray(w), tx.init(jnp.asarray(w))
    mean_square, momentum = np.ones(7), np.zeros(7)  # the slot starts at one
    for _ in range(6):
        g = rng.normal(size=7) * 3
        mean_square = 0.9 * mean_square + 0.1 * g**2
        momentum = 0.9 * momentum + 0.02 * g / np.sqrt(mean_square + 1e-3)
        w = w - momentum
        updates, state = tx.update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, w, rtol=2e-5)


def test_exponential_schedule_counts_from_step_zero_and_warm_up_replaces_it():
    config = options(learning_rate=0.016, warmup_epochs=5.0, decay_rate=0.97, decay_epochs=2.4)
    schedule = schedule_of(config, batch_size=4096, steps_per_epoch=10)
    peak = 0.256
    for step in range(200):
        expected = peak * step / 50 if step < 50 else peak * 0.97 ** (step // 24)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, err_msg=f"step {step}")
    np.testing.assert_allclose(schedule(50), peak * 0.97**2, rtol=1e-5)  # it has decayed twice by then


def test_cosine_schedule_ends_at_zero():
    schedule = schedule_of(options(schedule="cosine", warmup_epochs=2.0), num_train_steps=100)
    np.testing.assert_allclose(schedule(20), 0.016, rtol=1e-5)
    np.testing.assert_allclose(schedule(60), 0.008, rtol=1e-4)
    np.testing.assert_allclose(schedule(100), 0, atol=1e-8)


def test_step_schedule_drops_at_its_epochs():
    config = options(schedule="step", warmup_epochs=0.0, decay_rate=0.2, step_epochs=(6, 12))
    schedule = schedule_of(config, steps_per_epoch=10)
    values = [float(schedule(step)) / 0.016 for step in (0, 59, 60, 119, 120)]
    np.testing.assert_allclose(values, [1, 1, 0.2, 0.2, 0.04], rtol=1e-5)


@given(
    name=st.sampled_from(optimizer_lib.SCHEDULES),
    warmup=st.floats(0, 10),
    step=st.integers(0, 400),
)
def test_no_schedule_leaves_zero_to_peak(name, warmup, step):
    rate = float(schedule_of(options(schedule=name, warmup_epochs=warmup))(step))
    assert 0 <= rate <= 0.016 * (1 + 1e-6)


PARAMS = {
    "block": {"conv": {"kernel": jnp.ones(2)}, "bn": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
    "classifier": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
}
STATS = {"block": {"bn": {"mean": jnp.zeros(2), "var": jnp.ones(2)}}}


@pytest.mark.parametrize(
    ("rule", "decayed"),
    [
        ("not_batch_norm", {"block/conv/kernel", "classifier/kernel", "classifier/bias"}),
        ("kernels", {"block/conv/kernel", "classifier/kernel"}),
        (
            "all",
            {"block/conv/kernel", "block/bn/scale", "block/bn/bias", "classifier/kernel", "classifier/bias"},
        ),
    ],
)
def test_weight_decay_touches_what_its_rule_says(rule, decayed):
    mask = optimizer_lib.decay_mask(rule, STATS)(PARAMS)
    chosen = {"/".join(key.key for key in path) for path, wanted in jax.tree_util.tree_leaves_with_path(mask) if wanted}
    assert chosen == decayed


def test_l2_enters_the_gradient_before_rmsprop():
    """The official decay is in the loss, so the mean square sees it; decoupled decay would not."""
    config = options(weight_decay=0.5, warmup_epochs=0.0, schedule="constant", learning_rate=0.01)
    tx = optimizer_lib.make_optimizer(config, schedule_of(config), STATS)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    g = 0.5
    expected = -0.01 * g / np.sqrt(0.9 + 0.1 * g**2 + 1e-3)
    np.testing.assert_allclose(updates["classifier"]["kernel"], expected, rtol=1e-5)
    np.testing.assert_array_equal(updates["block"]["bn"]["scale"], 0)


def test_clipping_bounds_the_global_norm():
    config = options(name="sgd", momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=1.0)
    config.update(warmup_epochs=0.0, schedule="constant", learning_rate=1.0)
    tx = optimizer_lib.make_optimizer(config, schedule_of(config), STATS)
    grads = jax.tree.map(lambda x: 100 * x, PARAMS)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(optax.tree.norm(updates), 1.0, rtol=1e-5)


def test_adamw_decouples_its_decay():
    config = options(name="adamw", weight_decay=0.5, warmup_epochs=0.0, schedule="constant")
    tx = optimizer_lib.make_optimizer(config, schedule_of(config), STATS)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["classifier"]["kernel"], -0.016 * 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rmspropp"}, "did you mean 'rmsprop'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"weight_decay_on": "kernel"}, "did you mean 'kernels'"),
    ],
)
def test_unknown_names_suggest_the_nearest(changes, message):
    config = options(**changes)
    with pytest.raises(UserError, match=message):
        optimizer_lib.make_optimizer(config, schedule_of(config), STATS)
