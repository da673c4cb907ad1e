"""The depthwise convolution against XLA's own grouped convolution, in float64."""

import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from jax import lax

from effnet_jax.ops import depthwise, shifted_sums
from effnet_jax.ops.depthwise import depthwise_conv
from effnet_jax.ops.geometry import Axis, explicit_padding, geometry_of

BLOCK_OF = shifted_sums._block_of


@pytest.fixture(scope="module", autouse=True)
def as_long_as_it_is():
    """A step of the filter gradient, which other tests shorten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shifted_sums, "_block_of", BLOCK_OF)
        yield


def reference(x, kernel, stride=1, padding="SAME"):
    """What `depthwise_conv` must equal."""
    if padding == "SYMMETRIC":
        padding = [((k - 1) // 2, (k - 1) // 2) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3],
    )


def example(batch, height, width, k, channels=3, dtype=np.float64):
    rng = np.random.default_rng(height * 100 + width * 10 + k)
    x = rng.normal(size=(batch, height, width, channels)).astype(dtype)
    return x, rng.normal(size=(k, k, 1, channels)).astype(dtype)


def value_and_gradients(conv, x, kernel):
    """Output and both gradients for a cotangent that differs at every place."""
    y, pullback = jax.vjp(conv, x, kernel)
    return y, *pullback(cotangent(y))


def cotangent(y):
    return jnp.asarray(np.random.default_rng(0).integers(-3, 4, size=y.shape), y.dtype)  # exact in bfloat16


def assert_equal_in_float64(batch, height, width, k, stride, padding):
    with jax.enable_x64(True):
        x, kernel = example(batch, height, width, k)
        ours, theirs = (
            jax.jit(functools.partial(value_and_gradients, lambda x, w, f=f: f(x, w, stride, padding)))
            for f in (depthwise_conv, reference)
        )
        for name, a, b in zip(("y", "dx", "dw"), ours(x, kernel), theirs(x, kernel)):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
@pytest.mark.parametrize("k, stride", list(itertools.product((3, 5), (1, 2))))
def test_equals_grouped_convolution(k, stride, padding):
    assert_equal_in_float64(4, 7, 8, k, stride, padding)


def test_a_kernel_of_seven():
    assert_equal_in_float64(4, 7, 8, 7, 2, "SYMMETRIC")


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 4)])
def test_map_smaller_than_the_kernel(size):
    assert_equal_in_float64(3, *size, 5, 1, "SAME")


@pytest.mark.parametrize("loops", [1, 2])
@pytest.mark.parametrize(
    "shape, k, stride, in_a_kernel, between_kernels",
    [
        ((36, 2, 2), 3, 1, (6, 2, 2), (12, 2, 2)),  # several whole maps, without the products that meet padding
        ((12, 8, 9), 5, 1, (1, 8, 1), (4, 8, 9)),  # column by column
        ((10, 12, 14), 5, 1, (1, 2, 2), (2, 12, 14)),
        ((4, 15, 13), 5, 1, (4, 1, 1), (2, 15, 13)),  # odd sides: the same pixel of several images
        ((3, 67, 16), 3, 2, (1, 2, 2), (1, 17, 8)),
        ((2, 37, 5), 3, 1, (2, 1, 1), (1, 1, 5)),  # a prime number of rows
    ],
)
def test_filter_gradient_in_blocks(shape, k, stride, in_a_kernel, between_kernels, loops, monkeypatch):
    """Every kind of block, where XLA makes a kernel of the loop and where it does not."""
    monkeypatch.setattr(shifted_sums, "_LONG_LOOP", 0 if loops == 2 else 1 << 60)
    with jax.enable_x64(True):
        x, kernel = example(*shape, k)
        geometry = geometry_of(x.shape, kernel.shape, stride, "SAME")
        g = cotangent(reference(x, kernel, stride))
        expected = depthwise._lax_filter_gradient(geometry, x, g)
        for kernels, block in ((True, in_a_kernel), (False, between_kernels)):
            monkeypatch.setattr(shifted_sums.runtime, "loops_are_kernels", lambda kernels=kernels: kernels)
            assert shifted_sums._block_of(geometry.without_padding(), shape[0]) == (*block, not kernels)
            lowered = jax.jit(lambda x, g: shifted_sums.filter_gradient.__wrapped__(geometry, x, g)).lower(x, g)
            assert lowered.as_text().count("stablehlo.while") == loops
            np.testing.assert_allclose(lowered.compile()(x, g), expected, rtol=1e-11, atol=1e-11)


@hypothesis.given(*[st.integers(1, 12)] * 2, st.integers(1, 3), *[st.integers(0, 4)] * 2)
def test_trimmed_kernel_meets_the_same_pixels(size, k, stride, low, high):
    """With the same outputs, and no tap at either end that meets only padding."""
    hypothesis.assume(size + low + high >= k)
    axis = Axis(size, k, stride, low, high)
    trimmed, window = axis.trimmed()
    assert (trimmed.output, trimmed.kernel) == (axis.output, window.stop - window.start)
    assert [(p + window.start, *rest) for p, *rest in trimmed.spans()] == [tuple(span) for span in axis.spans()]
    if taps := trimmed.forward_taps():
        assert (taps[0][0], taps[-1][0]) == (0, trimmed.kernel - 1)


@hypothesis.settings(max_examples=8, derandomize=True)
@hypothesis.given(
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 3),
    st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
)
def test_any_geometry(batch, height, width, k, stride, padding):
    hypothesis.assume(min(height + sum(padding[0]), width + sum(padding[1])) >= k)
    assert_equal_in_float64(batch, height, width, k, stride, padding)


@hypothesis.given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 4))
def test_same_padding_gives_ceil_of_size_over_stride(size, k, stride):
    [(low, high)] = explicit_padding([size], [k], stride, "SAME")
    assert Axis(size, k, stride, low, high).output == -(-size // stride)
    assert 0 <= high - low <= 1


@hypothesis.given(*[st.integers(1, 12)] * 2, st.integers(1, 3), *[st.integers(0, 4)] * 2)
def test_taps_and_spans_cover_exactly_what_meets_the_image(size, k, stride, low, high):
    hypothesis.assume(size + low + high >= k)
    axis = Axis(size, k, stride, low, high)
    meets = {
        (p, i, i * stride + p - low) for p in range(k) for i in range(axis.output) if 0 <= i * stride + p - low < size
    }
    spans = {(p, first + n, source + n * stride) for p, first, count, source in axis.spans() for n in range(count)}
    assert spans == meets
    assert {p for p, _ in axis.forward_taps()} >= {p for p, _, _ in meets}
    backward = {
        (p, m + offset, m * stride + phase)
        for phase in range(stride)
        for p, offset in axis.backward_taps(phase)
        for m in range(len(range(phase, size, stride)))
        if 0 <= m + offset < axis.output
    }
    assert backward == meets


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives(stride):
    """Gradients of a function of both gradients, by every argument including the cotangent."""

    def twice(conv, x, kernel):
        def penalty(x, kernel):
            gradients = jax.grad(lambda x, k: jnp.sin(conv(x, k, stride)).sum(), argnums=(0, 1))(x, kernel)
            return sum(jnp.cos(g).sum() for g in gradients)

        return jax.jit(jax.grad(penalty, argnums=(0, 1)))(x, kernel)

    with jax.enable_x64(True):
        x, kernel = example(2, 4, 5, 3)
        for a, b in zip(twice(depthwise_conv, x, kernel), twice(reference, x, kernel)):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_bfloat16_is_summed_in_float32():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in example(64, 6, 6, 5))
    exact = value_and_gradients(reference, x.astype(jnp.float32), kernel.astype(jnp.float32))
    for a, b in zip(value_and_gradients(depthwise_conv, x, kernel), exact):
        assert a.dtype == jnp.bfloat16
        # One rounding of the result (2^-9 relative), none of the partial sums.
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-4)


def test_float32_kernel_with_bfloat16_images():
    x, kernel = example(2, 4, 4, 3, dtype=np.float32)
    y, dw = jax.value_and_grad(lambda w: depthwise_conv(jnp.asarray(x, jnp.bfloat16), w).sum())(kernel)
    assert (y.dtype, dw.dtype) == (jnp.bfloat16, np.float32)


def test_vmap_and_remat():
    x, kernel = example(2, 5, 5, 3, dtype=np.float32)
    xs, kernels = np.stack([x, 2 * x]), np.stack([kernel, kernel[::-1]])
    gradients = functools.partial(value_and_gradients, jax.checkpoint(depthwise_conv))
    mapped = jax.jit(jax.vmap(gradients))(xs, kernels)
    single = [gradients(*pair) for pair in zip(xs, kernels)]
    for a, b in zip(mapped, zip(*single)):
        np.testing.assert_allclose(a, np.stack(b), rtol=1e-4, atol=1e-4)


def test_batch_sharded_over_devices():
    devices = jax.devices()
    assert len(devices) > 1
    mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x, kernel = example(2 * len(devices), 6, 6, 3, dtype=np.float32)
    step = jax.jit(functools.partial(value_and_gradients, functools.partial(depthwise_conv, stride=2)))
    sharded = step(jax.device_put(x, sharding), kernel)
    for a, b in zip(sharded, step(x, kernel)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_platform_lowered_for_chooses_the_formulation():
    """Exported on this CPU, with a symbolic batch: sums for a CPU and a GPU, one grouped convolution for a TPU."""
    (batch,) = jax.export.symbolic_shape("b")
    x = jax.ShapeDtypeStruct((batch, 6, 6, 4), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 1, 4), np.float32)
    loss = lambda x, kernel: (depthwise_conv(x, kernel) ** 2).sum()  # noqa: E731
    for function in (depthwise_conv, jax.grad(loss, argnums=(0, 1))):
        cpu, cuda, tpu = (
            jax.export.export(jax.jit(function), platforms=[platform])(x, kernel) for platform in ("cpu", "cuda", "tpu")
        )
        assert "stablehlo.convolution" not in cpu.mlir_module()
        assert "stablehlo.convolution" not in cuda.mlir_module()
        assert "stablehlo.convolution" in tpu.mlir_module()
    cpu = jax.export.export(jax.jit(depthwise_conv), platforms=["cpu"])(x, kernel)
    x, kernel = example(3, 6, 6, 3, channels=4, dtype=np.float32)
    np.testing.assert_allclose(cpu.call(x, kernel), reference(x, kernel), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height, width, k", [(7, 6, 5), (8, 8, 3), (5, 4, 3), (1, 2, 5)])
def test_default_formulation_of_other_platforms(height, width, k, stride):
    """Every formulation, a GPU's and TPU's included, run here."""
    with jax.enable_x64(True):
        x, kernel = example(2, height, width, k)
        geometry = geometry_of(x.shape, kernel.shape, stride, "SAME")

        @jax.jit
        def every_one(x, kernel):
            y, dx, dw = value_and_gradients(functools.partial(depthwise_conv, stride=stride), x, kernel)
            g = cotangent(y)
            arguments = {"forward": (x, kernel, y), "input gradient": (g, kernel, dx), "filter gradient": (x, g, dw)}
            return {
                (direction, name): (formulation(geometry, a, b), expected)
                for direction, (a, b, expected) in arguments.items()
                for name, formulation in depthwise.FORMULATIONS[direction].items()
            }

        for name, (found, expected) in every_one(x, kernel).items():
            np.testing.assert_allclose(found, expected, atol=1e-11, err_msg=str(name))


def test_padding_that_leaves_the_size_as_it_was():
    """One row above is added and the last one, which no output reads, goes: padded, but not larger."""
    assert_equal_in_float64(2, 4, 4, 2, 2, ((1, 0), (1, 0)))


@pytest.mark.parametrize(
    "kernel_shape, padding, message",
    [
        ((3, 3, 3, 1), "SAME", "want x"),
        ((3, 3, 1, 2), "SAME", "want x"),
        ((3, 3, 1, 4), "VALID", "padding is"),
        ((7, 7, 1, 4), ((0, 0), (0, 0)), "leaves nothing"),
    ],
)
def test_bad_arguments(kernel_shape, padding, message):
    with pytest.raises(ValueError, match=message):
        depthwise_conv(jnp.zeros((1, 5, 5, 4)), jnp.zeros(kernel_shape), 1, padding)


@hypothesis.given(*[st.integers(1, 12)] * 2, st.integers(1, 3), *[st.integers(0, 4)] * 2)
def test_margins_are_all_that_an_input_gradient_reads_beyond_the_outputs(size, k, stride, low, high):
    hypothesis.assume(size + low + high >= k)
    axis = Axis(size, k, stride, low, high)
    read = {
        m + offset
        for phase in range(stride)
        for _, offset in axis.backward_taps(phase)
        for m in range(axis.inputs_per_phase)
    }
    first, last = min(read | {0}), max(read | {axis.output - 1})
    assert axis.with_margins().margins == (-first, last + 1 - axis.output)
