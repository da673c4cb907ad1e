"""The fast model computes what a plain one, built from Flax's own layers, computes from the same variables."""

import functools

import jax
import numpy as np
import optax

from effnet_jax import create_model
from effnet_jax.architecture import scaling
from effnet_jax.benchmark.naive import NaiveEfficientNet
from effnet_jax.process import xla_flags
from effnet_jax.training.step import cross_entropy
from tests.checkpoints import random_variables
from tests.short import four_blocks

CLASSES, BATCH = 10, 4


def models(dtype: str):
    """Narrow ones of a block a stage, with variables for both."""
    fast = create_model(
        "efficientnet_b0",
        CLASSES,
        width_multiplier=0.025,
        dropout_rate=0.0,
        stochastic_depth_rate=0.0,
        dtype=dtype,
        stem_stride=1,
    )
    plain = NaiveEfficientNet(fast.architecture, CLASSES, dtype)
    return fast, plain, random_variables(fast.architecture, CLASSES, dtype)


def data(dtype: str, side: int):
    rng = np.random.default_rng(0)
    return rng.standard_normal((BATCH, side, side, 3)).astype(dtype), rng.integers(0, CLASSES, BATCH)


def loss(model, params, batch_stats, images, labels):
    logits, mutated = model.apply(
        {"params": params, "batch_stats": batch_stats}, images, train=True, mutable=["batch_stats"]
    )
    return cross_entropy(logits, labels).mean(), mutated["batch_stats"]


def losses(model, variables, images, labels, steps: int) -> list[float]:
    """Losses of a training run with SGD and momentum."""
    tx = optax.sgd(0.05, momentum=0.9)
    # XLA's own loops of a grouped convolution in float64 take seconds where LLVM leaves them as they are.
    optimised = xla_flags.known({"xla_backend_optimization_level": 3}) if isinstance(model, NaiveEfficientNet) else None

    @functools.partial(jax.jit, compiler_options=optimised)
    def step(params, stats, slots):
        value_and_grad = jax.value_and_grad(lambda p: loss(model, p, stats, images, labels), has_aux=True)
        (value, stats), grads = value_and_grad(params)
        updates, slots = tx.update(grads, slots)
        return (optax.apply_updates(params, updates), stats, slots), value

    state, values = (variables["params"], variables["batch_stats"], tx.init(variables["params"])), []
    for _ in range(steps):
        state, value = step(*state)
        values.append(float(value))
    return values


# Together every kind of block of B0: kernel 3 and 5, stride 1 and 2, with and without residual and expansion.


def test_twenty_training_steps_have_the_same_losses_in_float64(monkeypatch):
    """Of stages 1, 4, 5 and 7: without expansion, stride 2, and residual ones with kernel 5 and 3."""
    monkeypatch.setattr(scaling, "round_repeats", lambda repeats, depth_multiplier: int(repeats in (1, 3)))
    with jax.enable_x64(True):
        fast, naive, variables = models("float64")
        images, labels = data("float64", 24)
        ours = losses(fast, variables, images, labels, 20)
        plain = losses(naive, variables, images, labels, 20)
        assert plain[0] > 1.5 * plain[19]  # it does learn, so the steps are not twenty times the same
        np.testing.assert_allclose(ours, plain, rtol=1e-9)


def test_the_first_gradients_agree_in_float32(monkeypatch):
    """Of stages 2 to 5: stride 2 with both kernels, and a residual one with kernel 5."""
    monkeypatch.setattr(scaling, "round_repeats", four_blocks)
    fast, naive, variables = models("float32")
    images, labels = data("float32", 29)
    ours, plain = (
        jax.jit(jax.grad(lambda params, model=model: loss(model, params, variables["batch_stats"], images, labels)[0]))(
            variables["params"]
        )
        for model in (fast, naive)
    )
    scale = max(np.linalg.norm(gradient) for gradient in jax.tree.leaves(plain))
    for (path, gradient), reference in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(plain), strict=True):
        # The floor is for gradients that vanish, such as that of a bias that BatchNorm takes away again.
        size = max(np.linalg.norm(reference), 1e-3 * scale)
        assert np.linalg.norm(gradient - reference) < 1e-4 * size, path
