"""Swish and sigmoid against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.ops.swish import sigmoid, swish

DEFINITIONS = {swish: lambda x: x / (1 + np.exp(-x)), sigmoid: lambda x: 1 / (1 + np.exp(-x))}
functions = pytest.mark.parametrize("function", DEFINITIONS, ids=lambda function: function.__name__)
# Every order of magnitude, both signs; around every multiple of log(2) / 2, where the rounding changes; evenly.
_STEPS = np.arange(-250, 251) * np.log(2) / 2
INPUTS = np.concatenate(
    [*(sign * np.geomspace(1e-30, 86, 20_000) for sign in (1, -1)), _STEPS, _STEPS + 1e-5, np.linspace(-86, 86, 50_001)]
)
INPUTS = INPUTS[abs(INPUTS) < 87].astype(np.float32)


@functions
def test_error_is_a_few_units_in_the_last_place(function):
    truth = DEFINITIONS[function](INPUTS.astype(np.float64))
    error = abs(np.asarray(jax.jit(function)(INPUTS), np.float64) - truth)
    # The tests' compiler does not fuse multiply-adds: a product as large as the input is rounded.
    allowed = (4e-7 + 6e-8 * abs(INPUTS)) * abs(truth)
    assert (error <= allowed).all(), (INPUTS[error > allowed], error[error > allowed])


@functions
def test_large_values_saturate_and_not_a_number_stays(function):
    y = function(jnp.array([-1e30, -200.0, 200.0, 1e30, jnp.nan]))
    high = {swish: (200, 1e30), sigmoid: (1, 1)}[function]
    np.testing.assert_allclose(y[:4], (0, 0, *high), rtol=1e-6, atol=1e-7)
    assert jnp.isnan(y[4])


@functions
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(function, order):
    plain = {swish: jax.nn.silu, sigmoid: jax.nn.sigmoid}[function]
    derivatives = []
    for f in (function, plain):
        for _ in range(order):
            f = jax.grad(f)
        derivatives.append(jax.jit(jax.vmap(f))(jnp.linspace(-20, 20, 501)))
    np.testing.assert_allclose(*derivatives, rtol=1e-5, atol=1e-6)


@functions
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_dtypes_are_kept(function, dtype):
    assert function(jnp.ones(3, dtype)).dtype == dtype
