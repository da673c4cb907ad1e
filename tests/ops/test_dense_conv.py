"""Dense convolution against XLA's: of images, of maps smaller than the kernel, and of others."""

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
LARGE = [(3, 3, 6, 3, 1, "SAME"), (2, 3, 6, 3, 1, "SAME"), (9, 8, 6, 3, 2, "SYMMETRIC")]


@pytest.mark.parametrize(("height", "width", "channels", "k", "stride", "padding"), [*IMAGES, *SMALL, *LARGE])
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
