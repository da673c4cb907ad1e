"""The convolution of images against XLA's, for both formulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from effnet_jax.ops.geometry import explicit_padding
from effnet_jax.ops.image_conv import image_conv


def reference(x, kernel, stride, padding):
    pads = explicit_padding(x.shape[1:3], kernel.shape[:2], stride, padding)
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def example(height, width, k, channels=3, dtype=np.float64):
    rng = np.random.default_rng(height + k)
    return [rng.normal(size=s).astype(dtype) for s in ((2, height, width, channels), (k, k, channels, 5))]


# Widths on both sides of whole groups of outputs, an image smaller than the kernel, rows that are never read.
@pytest.mark.parametrize(
    ("height", "width", "k", "stride", "padding"),
    [
        (8, 9, 3, 1, "SAME"),
        (7, 12, 3, 2, "SAME"),
        (8, 8, 3, 2, "SYMMETRIC"),
        (9, 17, 7, 2, "SYMMETRIC"),
        (5, 6, 7, 1, "SAME"),
        (8, 11, 3, 3, ((0, 1), (2, 0))),
    ],
)
def test_equals_convolution_with_both_gradients(height, width, k, stride, padding):
    with jax.enable_x64(True):
        x, kernel = example(height, width, k)
        ours, theirs = (
            jax.jit(jax.value_and_grad(lambda x, w, f=f: jnp.sin(f(x, w, stride, padding)).sum(), argnums=(0, 1)))(
                x, kernel
            )
            for f in (image_conv, reference)
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_bfloat16_is_summed_in_float32():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in example(16, 16, 3))
    y = image_conv(x, kernel, 2)
    assert y.dtype == jnp.bfloat16
    exact = reference(x.astype(jnp.float32), kernel.astype(jnp.float32), 2, "SAME")
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=2**-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_symbolic_batch_and_the_platform_lowered_for(platform):
    (batch,) = jax.export.symbolic_shape("b")
    x, kernel = example(8, 8, 3, dtype=np.float32)
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(image_conv), platforms=[platform])(shape, kernel)
    assert ("stablehlo.convolution" in exported.mlir_module()) == (platform == "cuda")
    if platform == "cpu":
        np.testing.assert_allclose(exported.call(x, kernel), reference(x, kernel, 1, "SAME"), rtol=1e-4, atol=1e-5)


def test_nothing_left():
    with pytest.raises(ValueError, match="leaves nothing"):
        image_conv(jnp.zeros((1, 2, 2, 3)), jnp.zeros((3, 3, 3, 4)), 1, ((0, 0), (0, 0)))
