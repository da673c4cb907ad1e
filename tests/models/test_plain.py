"""Models of XLA's own operations: equal to the fast ones, and open to every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.errors import UserError
from effnet_jax.ops import fast, plain

KEY = jax.random.key(0)
# Every kind of layer: strides, both kernel sizes, squeeze-and-excitation, residual blocks.
MODELS = {
    "efficientnet_b0": {"width_multiplier": 0.25, "depth_multiplier": 0.3},
    "resnet50": {"width_multiplier": 0.125, "depth_multiplier": 0.2},
    "densenet201": {"width_multiplier": 0.25, "depth_multiplier": 0.05},
}


def pair(name, padding, resolution=48):
    models = [
        create_model(name, 5, padding=padding, dropout_rate=0.0, ops=ops, **MODELS[name]) for ops in ("fast", "plain")
    ]
    images = jax.random.normal(KEY, (4, resolution, resolution, 3))
    variables = jax.jit(models[0].init, static_argnames="train")(KEY, images, train=False)
    return models, variables, images


def test_both_have_the_same_operations():
    assert all(callable(getattr(plain, name)) for name in fast.__all__)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
def test_they_are_equal(name, padding):
    models, variables, images = pair(name, padding)
    labels = jnp.arange(4) % 5

    def loss_of(model):
        def loss(params):
            variables_ = {**variables, "params": params}
            logits, changed = model.apply(
                variables_, images, train=True, mutable=["batch_stats"], rngs={"dropout": KEY}
            )
            return -jax.nn.log_softmax(logits)[jnp.arange(4), labels].mean(), (logits, changed)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    (ours, theirs) = map(loss_of, models)
    for one, other in zip(map(jax.tree.leaves, ours), map(jax.tree.leaves, theirs)):
        scale = max(float(jnp.abs(leaf).max()) for leaf in other)
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, atol=1e-5 * max(scale, 1.0))
    inference = [jax.jit(lambda v, x, m=model: m.apply(v, x, train=False))(variables, images) for model in models]
    np.testing.assert_allclose(*inference, atol=1e-5 * float(jnp.abs(inference[0]).max()))


def test_forward_mode_and_a_jvp_of_a_gradient():
    (fast_model, plain_model), variables, images = pair("efficientnet_b0", "SAME", resolution=32)
    direction = jax.random.normal(jax.random.key(1), images.shape)

    def total(model, x):
        return model.apply(variables, x, train=False).sum()

    _, slope = jax.jvp(lambda x: total(plain_model, x), (images,), (direction,))
    np.testing.assert_allclose(slope, (jax.grad(lambda x: total(fast_model, x))(images) * direction).sum(), rtol=1e-3)
    _, curvature = jax.jvp(jax.grad(lambda x: total(plain_model, x)), (images,), (direction,))
    assert jnp.isfinite(curvature).all() and jnp.abs(curvature).max() > 0

    with pytest.raises(TypeError, match="custom_vjp") as caught:
        jax.jvp(lambda x: total(fast_model, x), (images,), (direction,))
    assert any('ops="plain"' in note for note in caught.value.__notes__)


def test_another_choice_is_refused():
    with pytest.raises(UserError, match=r"ops is one of fast, plain, not 'quick'"):
        create_model("efficientnet_b0", ops="quick")
