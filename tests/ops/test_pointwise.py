"""The 1x1 convolution against XLA's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from effnet_jax.ops.pointwise import gated_pointwise_conv, pointwise_conv, transposed_product


def reference(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def example(dtype=np.float64, channels=5):
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype(dtype) for s in ((2, 3, 4, channels), (1, 1, channels, 7))]


@pytest.mark.parametrize("channels", [5, 9], ids=["more channels", "fewer channels"])
def test_equals_convolution_with_both_gradients(channels):
    with jax.enable_x64(True):
        x, kernel = example(channels=channels)
        ours, theirs = (
            jax.value_and_grad(lambda x, k, f=f: jnp.sin(f(x, k)).sum(), argnums=(0, 1))(x, kernel)
            for f in (pointwise_conv, reference)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "many"])
@pytest.mark.parametrize("channels", [(4, 12), (12, 4)], ids=["more", "fewer"])
def test_the_side_of_fewer_channels_comes_first_in_a_filter_gradient(channels, batch):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(*batch, 64, c)).astype(np.float32) for c in channels)
    compiled = jax.jit(transposed_product).lower(a, b).compile()
    shapes = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", compiled.as_text())
    assert shapes == [",".join(map(str, (*batch, 4, 12)))], f"XLA computes {shapes}: it has turned the product around"
    np.testing.assert_allclose(compiled(a, b), np.swapaxes(a, -1, -2) @ b, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_summed_in_float32():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in example(channels=512))
    y = pointwise_conv(x, kernel)
    assert y.dtype == jnp.bfloat16
    exact = reference(x.astype(jnp.float32), kernel.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)


def test_symbolic_batch():
    (batch,) = jax.export.symbolic_shape("b")
    x, kernel = example(np.float32)
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(pointwise_conv))(shape, kernel)
    np.testing.assert_allclose(exported.call(x, kernel), reference(x, kernel), rtol=1e-4, atol=1e-5)


def test_bad_kernel():
    with pytest.raises(ValueError, match="want a kernel"):
        pointwise_conv(jnp.zeros((1, 2, 2, 4)), jnp.zeros((3, 3, 4, 8)))


@pytest.mark.parametrize("size", [2, 11], ids=["few pixels", "many pixels"])
def test_gates_scale_the_channels_of_each_image(size):
    def plain(x, gates, kernel):
        return reference(x * gates[:, None, None, :], kernel)

    with jax.enable_x64(True):
        rng = np.random.default_rng(size)
        arguments = [rng.normal(size=s) for s in ((3, size, size, 5), (3, 5), (1, 1, 5, 7))]
        ours, theirs = (
            jax.value_and_grad(lambda *a, f=f: jnp.sin(f(*a)).sum(), argnums=(0, 1, 2))(*arguments)
            for f in (gated_pointwise_conv, plain)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_many_pixels_are_not_scaled_one_by_one():
    shapes = (2, 16, 16, 8), (2, 8), (1, 1, 8, 4)
    text = jax.jit(gated_pointwise_conv).lower(*map(jnp.zeros, shapes)).as_text()
    assert "tensor<2x8x4xf32>" in text  # a kernel for each image ...
    assert not any("multiply" in line and "2x16x16x8" in line for line in text.splitlines())  # ... and no scaled copy
