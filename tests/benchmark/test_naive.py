"""The fast model computes what a plain one, built from Flax's own layers, computes from the same variables."""

import functools

import jax
import numpy as np
import optax

from effnet_jax import create_model
from effnet_jax.benchmark.naive import NaiveEfficientNet
from effnet_jax.process import xla_flags
from effnet_jax.training.step import cross_entropy

CLASSES, BATCH = 10, 4


def models(dtype: str):
    """Every kind of block of B0 (kernel 3 and 5, stride 1 and 2, with and without residual), narrow."""
    fast = create_model(
        "efficientnet_b0",
        CLASSES,
        width_multiplier=0.05,
        depth_multiplier=0.1,
        dropout_rate=0.0,
        stochastic_depth_rate=0.0,
        dtype=dtype,
        stem_stride=1,
    )
    return fast, NaiveEfficientNet(fast.architecture, CLASSES, dtype)


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


def test_twenty_training_steps_have_the_same_losses_in_float64():
    with jax.enable_x64(True):
        fast, naive = models("float64")
        images, labels = data("float64", 24)
        init = jax.jit(lambda key: fast.init(key, images, train=False), compiler_options=xla_flags.quick_compile())
        variables = init(jax.random.key(0))
        ours = losses(fast, variables, images, labels, 20)
        plain = losses(naive, variables, images, labels, 20)
        assert plain[0] > 1.5 * plain[19]  # it does learn, so the steps are not twenty times the same
        np.testing.assert_allclose(ours, plain, rtol=1e-9)


def test_the_first_gradients_agree_in_float32():
    fast, naive = models("float32")
    images, labels = data("float32", 29)
    init = jax.jit(lambda key: fast.init(key, images, train=False), compiler_options=xla_flags.quick_compile())
    variables = init(jax.random.key(0))
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
