"""Dense convolution against XLA's: of images, of maps smaller than the kernel, and of others."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from effnet_jax.ops.dense_conv import dense_conv
from effnet_jax.ops.geometry import explicit_padding


def reference(x, kernel, stride, padding):
    pads = explicit_padding(x.shape[1:3], kernel.shape[:2], stride, padding)
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def example(height, width, k, channels=3, dtype=np.float64):
    rng = np.random.default_rng(height + k)
    return [rng.normal(size=s).astype(dtype) for s in ((2, height, width, channels), (k, k, channels, 5))]


IMAGES = [  # widths on both sides of whole groups of outputs, smaller than the kernel, rows that are never read
    (8, 9, 3, 3, 1, "SAME"),
    (7, 12, 3, 3, 2, "SAME"),
    (8, 8, 3, 3, 2, "SYMMETRIC"),
    (9, 17, 3, 7, 2, "SYMMETRIC"),
    (5, 6, 3, 7, 1, "SAME"),
    (8, 11, 3, 3, 3, ((0, 1), (2, 0))),
]
SMALL = [  # results smaller than the kernel in both directions, from inputs that are and are not
    (2, 2, 6, 3, 1, "SAME"),
    (1, 2, 6, 3, 1, "SYMMETRIC"),
    (4, 4, 6, 3, 2, "SYMMETRIC"),
    (4, 3, 6, 3, 2, "SAME"),
    (6, 5, 6, 7, 1, "SAME"),
    (5, 6, 6, 3, 3, ((0, 1), (2, 0))),
]
LARGE = [  # both sides of one pixel, inputs that no output reads, gradients of odd and even sizes
    (3, 3, 6, 3, 1, "SAME"),
    (2, 3, 6, 3, 1, "SAME"),
    (9, 8, 6, 3, 2, "SYMMETRIC"),
    (8, 9, 6, 3, 2, "SAME"),
    (12, 10, 6, 5, 1, "SAME"),
    (10, 13, 6, 3, 3, ((0, 1), (2, 0))),
    (9, 8, 6, 3, 2, ((3, 4), (0, 0))),
]
ONE_PIXEL = [(8, 7, 6, 1, 2, "SAME"), (7, 9, 6, 1, 3, "SYMMETRIC"), (4, 5, 6, 1, 2, ((1, 0), (0, 2)))]


@pytest.mark.parametrize(
    ("height", "width", "channels", "k", "stride", "padding"), [*IMAGES, *SMALL, *LARGE, *ONE_PIXEL]
)
def test_equals_convolution_with_both_gradients(height, width, channels, k, stride, padding):
    with jax.enable_x64(True):
        x, kernel = example(height, width, k, channels)
        ours, theirs = (
            jax.jit(jax.value_and_grad(lambda x, w, f=f: jnp.sin(f(x, w, stride, padding)).sum(), argnums=(0, 1)))(
                x, kernel
            )
            for f in (dense_conv, reference)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_bfloat16_is_summed_in_float32():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in example(16, 16, 3))
    y = dense_conv(x, kernel, 2)
    assert y.dtype == jnp.bfloat16
    exact = reference(x.astype(jnp.float32), kernel.astype(jnp.float32), 2, "SAME")
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=2**-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize(("size", "channels", "is_product"), [(8, 3, True), (2, 6, True), (3, 6, False)])
def test_symbolic_batch_and_the_platform_lowered_for(platform, size, channels, is_product):
    (batch,) = jax.export.symbolic_shape("b")
    x, kernel = example(size, size, 3, channels, np.float32)
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(dense_conv), platforms=[platform])(shape, kernel)
    assert ("stablehlo.convolution" in exported.mlir_module()) == (platform == "cuda" or not is_product)
    if platform == "cpu":
        np.testing.assert_allclose(exported.call(x, kernel), reference(x, kernel, 1, "SAME"), rtol=1e-4, atol=1e-5)


def test_nothing_left():
    with pytest.raises(ValueError, match="leaves nothing"):
        dense_conv(jnp.zeros((1, 2, 2, 3)), jnp.zeros((3, 3, 3, 4)), 1, ((0, 0), (0, 0)))


def test_forward_mode():
    """A convolution is linear: its tangent is that of its image, convolved."""
    x, kernel = example(8, 9, 3, dtype=np.float32)
    y, tangent = jax.jvp(lambda x: dense_conv(x, kernel, 2), (x,), (x,))
    np.testing.assert_allclose(tangent, y, rtol=1e-6)


def test_gradients_of_gradients():
    with jax.enable_x64(True):
        x, kernel = example(9, 8, 3, 6)

        def gradients_squared(convolution, x, w):
            loss = lambda x, w: jnp.sin(convolution(x, w, 2, "SYMMETRIC")).sum()  # noqa: E731
            return sum(jnp.sum(jnp.cos(g)) for g in jax.grad(loss, argnums=(0, 1))(x, w))

        for ours, theirs in zip(*(jax.grad(gradients_squared, (1, 2))(f, x, kernel) for f in (dense_conv, reference))):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("stride", "k"), [(1, 3), (2, 3), (2, 1), (1, 5)])
def test_no_convolution_on_a_cpu_has_a_layout_that_is_slow_in_loops(stride, k):
    """XLA:CPU takes plain loops inside of a loop for what does not read NHWC and HWIO, at a tenth of the speed."""
    x, kernel = example(8, 8, k, 6, np.float32)
    gradients = jax.grad(lambda x, w: dense_conv(x, w, stride).sum(), argnums=(0, 1))
    lowered = jax.jit(gradients).lower(x, kernel).as_text()
    layouts = set(re.findall(r"dim_numbers = (\S.*?),\s+window", lowered))
    assert layouts <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}, lowered
