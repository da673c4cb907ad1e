"""Models of XLA's own operations: equal to the fast ones, and open to every transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.errors import UserError
from effnet_jax.ops import fast, plain
from tests.checkpoints import random_variables
from tests.short import four_blocks, networks_of

KEY = jax.random.key(0)
short_networks = networks_of(four_blocks)
# Every kind of layer: strides, both kernel sizes, squeeze-and-excitation, residual blocks.
MODELS = {
    "efficientnet_b0": {"width_multiplier": 0.05},  # of `four_blocks`
    "resnet50": {"width_multiplier": 0.125, "depth_multiplier": 0.2},
    "densenet201": {"width_multiplier": 0.25, "depth_multiplier": 0.05},
}


def pair(name, padding, dtype="float32"):
    resolution = 64 if name == "densenet201" else 40  # the least
    options = {"padding": padding, "dropout_rate": 0.0, "dtype": dtype, **MODELS[name]}
    models = [create_model(name, 5, ops=ops, **options) for ops in ("fast", "plain")]
    images = jax.random.normal(KEY, (4, resolution, resolution, 3), dtype)
    return models, random_variables(models[0].architecture, 5, dtype), images


def test_both_have_the_same_operations():
    assert all(callable(getattr(plain, name)) for name in fast.__all__)


CASES = [
    ("efficientnet_b0", "SAME"),
    ("efficientnet_b0", "SYMMETRIC"),
    ("resnet50", "SAME"),
    ("densenet201", "SAME"),
]


@pytest.mark.parametrize(("name", "padding"), CASES)
def test_they_are_equal(name, padding):
    """Loss, logits, statistics and every gradient; in float64, since rounding may move a ReLU's input past zero."""
    with jax.enable_x64(True):
        models, variables, images = pair(name, padding, dtype="float64")

        def loss(model, params):
            options = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": KEY}}
            logits, changed = model.apply({**variables, "params": params}, images, **options)
            return -jax.nn.log_softmax(logits)[:, 0].mean(), (logits, changed)

        def both(model, params):
            trained = jax.value_and_grad(functools.partial(loss, model), has_aux=True)(params)
            return trained, model.apply({**variables, "params": params}, images, train=False)

        trained, inferred = zip(*(jax.jit(functools.partial(both, model))(variables["params"]) for model in models))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * max(np.abs(b).max(), 1.0)), *trained
        )
        np.testing.assert_allclose(*inferred, rtol=1e-7)


def test_forward_mode_and_a_jvp_of_a_gradient():
    (fast_model, plain_model), variables, images = pair("efficientnet_b0", "SAME")
    direction = jax.random.normal(jax.random.key(1), images.shape)

    def total(model, x):
        return model.apply(variables, x, train=False).sum()

    @jax.jit
    def derivatives(x, direction):
        _, slope = jax.jvp(lambda x: total(plain_model, x), (x,), (direction,))
        _, curvature = jax.jvp(jax.grad(lambda x: total(plain_model, x)), (x,), (direction,))
        return slope, (jax.grad(lambda x: total(fast_model, x))(x) * direction).sum(), curvature

    slope, expected, curvature = derivatives(images, direction)
    np.testing.assert_allclose(slope, expected, rtol=1e-3)
    assert jnp.isfinite(curvature).all() and jnp.abs(curvature).max() > 0

    with pytest.raises(TypeError, match="custom_vjp") as caught:
        jax.jvp(lambda x: total(fast_model, x), (images,), (direction,))
    assert any('ops="plain"' in note for note in caught.value.__notes__)


def test_another_choice_is_refused():
    with pytest.raises(UserError, match=r"ops is one of fast, plain, not 'quick'"):
        create_model("efficientnet_b0", ops="quick")
