"""Inference that takes early layers over some images at a time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import effnet_jax
from effnet_jax.models import chain
from effnet_jax.models.layers import BatchNorm
from tests.checkpoints import random_variables
from tests.short import four_blocks, networks_of

short_networks = networks_of(four_blocks)


@pytest.fixture
def one_device(monkeypatch):
    """As on a machine whose CPU is one device, with a cache for two images of 64 pixels."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(chain, "_PIXELS_AT_ONCE", 2 * 64 * 64)


def example(batch_size=6):
    model = effnet_jax.create_model("efficientnet_b0", num_classes=5, width_multiplier=0.25)
    images = jax.random.normal(jax.random.key(0), (batch_size, 64, 64, 3))
    return model, random_variables(model.architecture, 5), images


def everything(model, variables, images):
    """All maps, the logits and the gradient of the images."""

    def score(images):
        maps = model.apply(variables, images, model.layer_names, method="intermediates")
        logits = model.apply(variables, images, train=False)
        return logits[:, 0].sum(), (maps, logits)

    return jax.jit(jax.grad(score, has_aux=True))(images)


def loops(function, *arguments):
    return str(jax.make_jaxpr(lambda *a: function(*a))(*arguments)).count(" scan[")  # a new function: nothing cached


def test_it_changes_nothing(one_device, monkeypatch):
    model, variables, images = example()
    in_turns = everything(model, variables, images)
    monkeypatch.setattr(chain, "_images_at_once", lambda shape: 0)
    at_once = everything(model, variables, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), in_turns, at_once)


def test_only_inference_on_one_cpu_device_takes_turns(one_device, monkeypatch):
    model, variables, images = example()
    infer = lambda v, x: model.apply(v, x, train=False)  # noqa: E731
    assert loops(infer, variables, images) == 1
    train = lambda v, x: model.apply(v, x, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})  # noqa: E731
    assert loops(train, variables, images) == 0
    captured = lambda v, x: model.apply(v, x, False, capture_intermediates=True, mutable=["intermediates"])  # noqa: E731
    assert loops(captured, variables, images) == 0

    def frozen(v, x):  # training that changes no statistics
        with nn.intercept_methods(
            lambda call, args, kwargs, context: (
                call(args[0], False) if isinstance(context.module, BatchNorm) else call(*args, **kwargs)
            )
        ):
            return model.apply(v, x, True, rngs={"dropout": jax.random.key(0)})

    assert loops(frozen, variables, images) == 0
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert loops(infer, variables, images) == 0


@pytest.mark.parametrize(
    "shape, size",
    [
        ((16, 224, 224, 3), 2),
        ((17, 224, 224, 3), 1),  # a prime number of large images: one by one
        ((127, 32, 32, 3), 0),  # of small ones: one by one would be slow
        ((128, 32, 32, 3), 64),
        ((8, 600, 600, 3), 1),
        ((2, 224, 224, 3), 0),
        ((1, 600, 600, 3), 0),
        ((0, 224, 224, 3), 0),
    ],
)
def test_images_at_once(shape, size, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert chain._images_at_once(shape) == size


def test_early_layers_have_maps_of_an_eighth_of_the_side():
    model, variables, _ = example(1)
    early = model.apply({}, (1, 224, 224, 3), method="_count_early_layers")
    shapes = jax.eval_shape(
        lambda: model.apply(variables, jnp.zeros((1, 224, 224, 3)), model.layer_names, method="intermediates")
    )
    large = [name for name in model.layer_names if shapes[name].shape[1] >= 28]
    assert large == list(model.layer_names[:early])
