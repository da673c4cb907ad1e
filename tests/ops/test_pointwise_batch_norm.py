"""Convolution, BatchNorm and swish at once against the three one after the other."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from effnet_jax.ops import pointwise_batch_norm
from effnet_jax.ops.batch_norm import batch_norm_swish
from effnet_jax.ops.pointwise_batch_norm import pointwise_batch_norm_swish

EPS = 1e-3
SHAPE, FILTERS = (4, 6, 5, 2), 12  # 120 pixels: enough for two channels


def plain(x, kernel, scale, bias):
    """The definition, differentiated by JAX itself."""
    z = jnp.einsum("nhwk,kc->nhwc", x, kernel[0, 0])
    mean, var = z.mean((0, 1, 2)), z.var((0, 1, 2))
    return jax.nn.swish((z - mean) / jnp.sqrt(var + EPS) * scale + bias), mean, var


def ours(*arguments):
    return pointwise_batch_norm_swish(*arguments, EPS)


def example(shape=SHAPE, filters=FILTERS, dtype=np.float64, offset=2.0, spread=3.0):
    rng = np.random.default_rng(0)
    x = offset + spread * rng.normal(size=shape)
    kernel = rng.normal(size=(1, 1, shape[3], filters))
    return [a.astype(dtype) for a in (x, kernel, rng.normal(size=filters), rng.normal(size=filters))]


def products(function, *arguments):
    """How many matrix products the gradients of a function take."""
    gradients = jax.jit(jax.grad(lambda *a: function(*a)[0].sum(), argnums=(0, 1, 2, 3)))
    return gradients.lower(*arguments).as_text().count("stablehlo.dot_general")


def test_values_and_gradients_equal_plain_autodiff():
    with jax.enable_x64(True):
        arguments = example()
        weights = np.random.default_rng(1).normal(size=(*SHAPE[:3], FILTERS))
        for a, b in zip(ours(*arguments), plain(*arguments)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        gradients = [
            jax.jit(jax.grad(lambda *a, f=f: (jnp.sin(f(*a)[0]) * weights).sum(), argnums=(0, 1, 2, 3)))(*arguments)
            for f in (ours, plain)
        ]
        for a, b in zip(*gradients):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_second_derivatives():
    with jax.enable_x64(True):
        arguments = example((5, 5, 4, 2), 3)

        def penalty(f):
            first = jax.grad(lambda *a: jnp.sin(f(*a)[0]).sum(), argnums=(0, 1, 2, 3))
            return jax.jit(jax.grad(lambda *a: sum(jnp.cos(g).sum() for g in first(*a)), argnums=(0, 1, 2, 3)))

        for a, b in zip(penalty(ours)(*arguments), penalty(plain)(*arguments)):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_statistics_carry_no_gradient():
    arguments = example(dtype=np.float32)
    gradients = jax.grad(lambda *a: sum(s.sum() for s in ours(*a)[1:]), argnums=(0, 1, 2, 3))
    assert all(not g.any() for g in gradients(*arguments))


@hypothesis.settings(max_examples=10, derandomize=True)
@hypothesis.given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e2))
def test_variance_survives_a_large_mean(offset, spread):
    """Taken from products of inputs that are not centred it would be lost."""
    arguments = example(dtype=np.float32, offset=offset, spread=spread)
    exact = plain(*[a.astype(np.float64) for a in arguments])
    _, mean, var = ours(*arguments)
    np.testing.assert_allclose(mean, exact[1], rtol=1e-4, atol=1e-3 * (abs(offset) + spread))
    np.testing.assert_allclose(var, exact[2], rtol=1e-3, atol=1e-10 * offset**2)


def test_channels_that_do_not_vary():
    """A filter of zeros, and large ones that cancel: what rounding leaves of their variance is not negative."""
    x, kernel, scale, bias = example(dtype=np.float32)
    x[..., 1] = 3 * x[..., 0]
    sizes = 100 * np.random.default_rng(2).uniform(1, 2, FILTERS)
    kernel[0, 0] = [3 * sizes, -sizes]
    kernel[..., 0] = 0
    y, _, var = ours(x, kernel, scale, bias)
    assert np.all(var >= 0) and var[0] == 0 and np.isfinite(y).all()
    np.testing.assert_allclose(y[..., 0], np.full(SHAPE[:3], jax.nn.swish(bias[0])), rtol=1e-5)
    gradients = jax.grad(lambda *a: ours(*a)[0].sum(), argnums=(0, 1, 2, 3))(x, kernel, scale, bias)
    assert all(np.isfinite(g).all() for g in gradients)


def test_few_pixels_and_short_floats_take_the_ordinary_way():
    """There one way or the other is chosen by what it costs; the number of products tells which it was."""
    ordinary = products(functools.partial(pointwise_batch_norm._separately, EPS), *example(dtype=np.float32))
    assert products(ours, *example(dtype=np.float32)) > ordinary
    assert products(ours, *example((4, 6, 3, 2), dtype=np.float32)) == ordinary
    x, *others = example(dtype=np.float32)
    assert products(ours, x.astype(jnp.bfloat16), *others) == ordinary


@pytest.mark.parametrize("platform, at_once", [("cpu", True), ("cuda", False)])
def test_the_platform_lowered_for_chooses(platform, at_once):
    exported = jax.export.export(jax.jit(ours), platforms=[platform])(*example(dtype=np.float32))
    assert (exported.mlir_module().count("stablehlo.dot_general") > 1) == at_once


def test_symbolic_batch():
    (batch,) = jax.export.symbolic_shape("b")
    x, *others = example(dtype=np.float32)
    exported = jax.export.export(jax.jit(ours))(jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), *others)
    for a, b in zip(exported.call(x, *others), batch_norm_swish_of_product(x, *others)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def batch_norm_swish_of_product(x, kernel, scale, bias):
    return batch_norm_swish(jnp.einsum("nhwk,kc->nhwc", x, kernel[0, 0]), scale, bias, EPS)


def test_batch_sharded_over_devices():
    devices = jax.devices()
    assert len(devices) > 1
    mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x, *others = example((2 * len(devices), 6, 6, 2), dtype=np.float32)

    @jax.jit
    def step(x, *others):
        return ours(x, *others), jax.grad(lambda *a: jnp.sin(ours(*a)[0]).sum(), argnums=(0, 1, 2, 3))(x, *others)

    for a, b in zip(*map(jax.tree.leaves, (step(jax.device_put(x, sharding), *others), step(x, *others)))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
