"""BatchNorm against its definition and plain autodiff."""

import re

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from effnet_jax.ops.batch_norm import batch_norm, batch_norm_swish, batch_norm_swish_of_product, normalize
from effnet_jax.process import sharding, target

EPS = 1e-3


def plain(x, scale, bias, eps=EPS):
    """The definition, differentiated by JAX itself."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / jnp.sqrt(var + eps) * scale + bias, mean, var


def plain_swish(*arguments):
    y, mean, var = plain(*arguments)
    return jax.nn.swish(y), mean, var


both = pytest.mark.parametrize(
    "fused, plain", [(batch_norm, plain), (batch_norm_swish, plain_swish)], ids=["batch_norm", "with_swish"]
)


def example(shape, dtype=np.float64):
    rng = np.random.default_rng(len(shape))
    x = rng.normal(2.0, 3.0, size=shape)
    return [a.astype(dtype) for a in (x, rng.normal(size=shape[-1]), rng.normal(size=shape[-1]))]


@both
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (16, 3), (1, 2, 2, 1)])
def test_values_and_gradients_equal_plain_autodiff(shape, fused, plain):
    with jax.enable_x64(True):
        arguments = example(shape)

        def loss(f):
            return lambda *a: jnp.sin(f(*a)[0] * jnp.arange(1.0, shape[-1] + 1)).sum()

        values = jax.jit(lambda *a: (fused(*a, EPS), plain(*a)))
        for a, b in zip(*values(*arguments)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        ours, theirs = (jax.jit(jax.grad(loss(f), argnums=(0, 1, 2))) for f in (lambda *a: fused(*a, EPS), plain))
        for a, b in zip(ours(*arguments), theirs(*arguments)):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@both
def test_second_derivatives(fused, plain):
    with jax.enable_x64(True):
        arguments = example((3, 2, 2, 2))

        def penalty(f):
            first = jax.grad(lambda *a: jnp.sin(f(*a)[0]).sum(), argnums=(0, 1, 2))
            return jax.jit(jax.grad(lambda *a: sum(jnp.cos(g).sum() for g in first(*a)), argnums=(0, 1, 2)))

        ours, theirs = penalty(lambda *a: fused(*a, EPS)), penalty(plain)
        for a, b in zip(ours(*arguments), theirs(*arguments)):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_statistics_carry_no_gradient():
    x, scale, bias = example((4, 3), np.float32)
    gradients = jax.grad(lambda *a: sum(s.sum() for s in batch_norm(*a, EPS)[1:]), argnums=(0, 1, 2))
    assert all(not g.any() for g in gradients(x, scale, bias))


@hypothesis.settings(max_examples=10, derandomize=True)
@hypothesis.given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e2))
def test_variance_survives_a_large_mean(offset, spread):
    """A one-pass float32 variance loses everything (or goes negative) here."""
    x = (offset + spread * np.random.default_rng(0).normal(size=(64, 8))).astype(np.float32)
    _, mean, var = batch_norm(x, np.ones(8, np.float32), np.zeros(8, np.float32), EPS)
    exact = x.astype(np.float64)
    assert (var >= 0).all()
    # The rounding of the mean itself adds at most its square to the variance.
    slack = (1e-6 * np.abs(exact).max()) ** 2
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    np.testing.assert_allclose(var, exact.var(0), rtol=1e-4, atol=slack)


def test_bfloat16_keeps_float32_statistics():
    x, scale, bias = example((32, 4, 4, 8), np.float32)
    x = jnp.asarray(x, jnp.bfloat16)
    y, mean, var = batch_norm(x, scale, bias, EPS)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.bfloat16, np.float32, np.float32)
    exact = plain(x.astype(jnp.float32), scale, bias)
    np.testing.assert_allclose(mean, exact[1], rtol=1e-5)
    np.testing.assert_allclose(var, exact[2], rtol=1e-5)
    np.testing.assert_allclose(y.astype(jnp.float32), exact[0], rtol=2**-8, atol=2**-8)
    dx, dscale = jax.grad(lambda x, s: batch_norm(x, s, bias, EPS)[0].sum(), argnums=(0, 1))(x, scale)
    assert (dx.dtype, dscale.dtype) == (jnp.bfloat16, np.float32)


def test_sharded_batch_has_global_statistics():
    devices = jax.devices()
    assert len(devices) > 1
    mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x, scale, bias = example((2 * len(devices), 2, 2, 3), np.float32)
    x += np.arange(len(x), dtype=np.float32)[:, None, None, None]  # every device sees another distribution

    @jax.jit
    def run(x):
        value, pullback = jax.vjp(lambda *a: batch_norm(*a, EPS)[0], x, scale, bias)
        return value, pullback(jnp.sin(value))

    for a, b in zip(*(jax.tree.leaves(run(z)) for z in (jax.device_put(x, sharding), x))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@both
def test_only_the_input_and_vectors_are_kept(fused, plain):
    x, scale, bias = example((8, 4, 4, 3), np.float32)
    _, pullback = jax.vjp(lambda *a: fused(*a, EPS), x, scale, bias)
    sizes = [leaf.size for leaf in jax.tree.leaves(pullback)]
    assert sorted(sizes)[-2:] == [3, x.size]


def test_normalize():
    x, scale, bias = example((4, 2, 2, 3), np.float32)
    mean, var = np.array([1, 2, 3], np.float32), np.array([0, 1, 4], np.float32)
    expected = (x - mean) / np.sqrt(var + EPS) * scale + bias
    np.testing.assert_allclose(normalize(x, mean, var, scale, bias, EPS), expected, rtol=1e-4, atol=1e-4)
    assert normalize(jnp.asarray(x, jnp.bfloat16), mean, var, scale, bias, EPS).dtype == jnp.bfloat16


@pytest.mark.parametrize("operation", [batch_norm, batch_norm_swish, batch_norm_swish_of_product])
@pytest.mark.parametrize(
    ("batch", "devices"),  # sums in no parts, in few, in many; of the product in one shape; and parts of devices
    [(9, 1), (16, 1), (64, 1), (24, 8), (64, 8)],
)
def test_formulation_for_accelerators_equals_plain_autodiff(
    as_on_an_accelerator, operation, batch, devices, monkeypatch
):
    monkeypatch.setattr(target, "device_count", lambda: devices)
    arguments = example((batch, 3, 5, 16), np.float32)
    definition = plain if operation is batch_norm else plain_swish

    def loss(f):
        return lambda *a: jnp.sin(f(*a)[0] * jnp.arange(1.0, 17)).sum()

    program = jax.jit(lambda *a: operation(*a, EPS)).lower(*arguments).as_text()
    in_parts = 0 if batch == 9 else 2  # 24 images of 8 devices: no parts but theirs
    assert program.count("stablehlo.reduce(") == 1 + in_parts
    values = jax.jit(lambda *a: (operation(*a, EPS), definition(*a)))
    for a, b in zip(*values(*arguments)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):  # this loss amplifies the rounding of float32
        arguments = example((batch, 3, 5, 16))
        functions = (lambda *a: operation(*a, EPS), definition)
        ours, theirs = (jax.jit(jax.grad(loss(f), argnums=(0, 1, 2))) for f in functions)
        for a, b in zip(ours(*arguments), theirs(*arguments)):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


def test_variance_of_a_constant_is_not_negative_on_accelerators(as_on_an_accelerator):
    x = np.full((4, 3, 3, 2), 1000.1, np.float32)
    _, mean, var = batch_norm(x, np.ones(2, np.float32), np.zeros(2, np.float32), EPS)
    np.testing.assert_allclose(mean, 1000.1, rtol=1e-6)
    assert (np.asarray(var) >= 0).all()


def test_second_derivatives_of_the_formulation_for_accelerators(as_on_an_accelerator):
    arguments = example((3, 2, 2, 2), np.float32)

    def penalty(f):
        inner = jax.grad(lambda *a: jnp.sin(f(*a)[0]).sum())
        return lambda *a: (inner(*a) ** 2).sum()

    operations = (lambda *a: batch_norm_swish(*a, EPS), plain_swish)
    ours, theirs = (jax.jit(jax.grad(penalty(f), argnums=(0, 1))) for f in operations)
    for a, b in zip(ours(*arguments), theirs(*arguments)):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("shape", [(64, 32, 32, 8), (64, 4, 4, 8), (8, 2, 2, 8)], ids=str)  # many rows, parts, few
def test_devices_exchange_once_in_each_direction(as_on_an_accelerator, shape):
    """Both sums of a BatchNorm in one all-reduce, and nothing gathered: devices wait for each of them."""

    def loss(*arguments):
        y, mean, var = batch_norm_swish(*arguments, EPS)
        return (y * y).sum(), (mean, var)

    mesh = sharding.data_mesh()
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding.batch_sharded(mesh))
    vector = jax.ShapeDtypeStruct(shape[-1:], jnp.float32, sharding=sharding.replicated(mesh))
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True)).lower(x, vector, vector).compile()
    exchanges = re.findall(r" (all-\w+|collective-\w+)\(", compiled.as_text())
    assert exchanges == ["all-reduce"] * 2
