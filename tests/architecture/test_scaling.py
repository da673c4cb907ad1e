"""Counts to the digit, from two independent counters, the real module and XLA's own cost analysis."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.extend.core import ClosedJaxpr, Jaxpr

from effnet_jax import create_model
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError

# Published: trainable parameters (torchvision's num_params for B0-B7), BatchNorm statistics, multiply-adds in G.
PUBLISHED = {
    "efficientnet_b0": (5_288_548, 42_016, 0.3858, 16, 7),
    "efficientnet_b1": (7_794_184, 62_048, 0.6868, 23, 8),
    "efficientnet_b2": (9_109_994, 67_568, 0.9936, 23, 9),
    "efficientnet_b3": (12_233_232, 87_296, 1.8271, 26, 10),
    "efficientnet_b4": (19_341_616, 125_200, 4.3938, 32, 12),
    "efficientnet_b5": (30_389_784, 172_736, 10.2664, 39, 15),
    "efficientnet_b6": (43_040_704, 224_432, 19.0676, 45, 17),
    "efficientnet_b7": (66_347_960, 310_720, 37.7459, 55, 19),
    "efficientnet_b8": (87_413_142, 380_032, 62.5975, 61, 21),
    "efficientnet_l2": (480_309_308, 1_090_688, 475.7037, 88, 25),
}
OTHER_HEADS = {  # trainable at 10, 100 and 101 classes
    "efficientnet_b0": (4_020_358, 4_135_648, 4_136_929),
    "efficientnet_b4": (17_566_546, 17_727_916, 17_729_709),
    "efficientnet_b7": (63_812_570, 64_043_060, 64_045_621),
}
SCALED_B0 = {  # Table 7 of the paper: (width, depth, resolution) -> parameters, GMACs under the official rounding
    (1.0, 4.0, 224): (20_091_856, 1.575),
    (2.0, 1.0, 224): (18_122_720, 1.450),
    (1.0, 1.0, 448): (5_288_548, 1.538),
    (1.2, 1.4, 300): (12_233_232, 1.827),
}


def counts_of(name: str, num_classes: int = 1000, resolution: int | None = None) -> scaling.Counts:
    variant = scaling.FAMILY[name]
    arch = scaling.architecture(variant.width_multiplier, variant.depth_multiplier)
    return arch.count(resolution or variant.resolution, num_classes)


def independent_count(width: float, depth: float, resolution: int, classes: int) -> tuple[int, int, int]:
    """A second counter, written from the block table alone: trainable, BatchNorm statistics, MACs."""
    table = [
        (1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
        (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320),
    ]  # fmt: skip

    def filters(f):
        f *= width
        rounded = max(8, int(f + 4) // 8 * 8)
        return int(rounded + 8 if rounded < 0.9 * f else rounded)

    side, previous = -(-resolution // 2), filters(32)
    trainable, stats, macs = 29 * previous, 2 * previous, 27 * previous * side**2
    for repeats, k, stride, expand, into, out in table:
        for repeat in range(math.ceil(depth * repeats)):
            c_in, c_out = filters(out if repeat else into), filters(out)
            wide, squeezed = c_in * expand, max(1, int(c_in * 0.25))
            if expand > 1:
                trainable, stats = trainable + c_in * wide + 2 * wide, stats + 2 * wide
                macs += c_in * wide * side**2
            side = -(-side // (1 if repeat else stride))
            trainable += (k * k + 2) * wide + 2 * wide * squeezed + squeezed + wide + (wide + 2) * c_out
            stats += 2 * wide + 2 * c_out
            macs += (k * k + c_out) * wide * side**2 + 2 * wide * squeezed
    head = filters(1280)
    trainable += (c_out + 2) * head + (head + 1) * classes
    return trainable, stats + 2 * head, macs + c_out * head * side**2 + head * classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_family_to_the_digit(name):
    parameters, batch_stats, gmacs, blocks, final_map = PUBLISHED[name]
    variant = scaling.FAMILY[name]
    arch = scaling.architecture(variant.width_multiplier, variant.depth_multiplier)
    counts = counts_of(name)
    assert (counts.parameters, counts.batch_stats) == (parameters, batch_stats)
    assert round(counts.macs / 1e9, 4) == gmacs
    assert (len(arch.blocks), arch.final_map(variant.resolution)) == (blocks, final_map)


@pytest.mark.parametrize("name", OTHER_HEADS)
def test_other_heads(name):
    assert tuple(counts_of(name, n).parameters for n in (10, 100, 101)) == OTHER_HEADS[name]


def test_strides_of_b0():
    strides = {layer.name: layer.stride for layer in scaling.architecture().count(224, 1000).layers if layer.stride > 1}
    assert strides == {"stem": 2} | {f"stage{stage}_block1": 2 for stage in (2, 3, 4, 6)}


def test_b0_at_other_resolutions():
    published = {32: 0.0086, 64: 0.0321, 96: 0.0713, 112: 0.1064, 128: 0.1261, 160: 0.1966, 192: 0.2828, 224: 0.3847}
    counted = {side: round(counts_of("efficientnet_b0", 100, side).macs / 1e9, 4) for side in published}
    assert counted == published


@pytest.mark.parametrize("scales", SCALED_B0)
def test_table_7(scales):
    width, depth, resolution = scales
    counts = scaling.architecture(width, depth).count(resolution, 1000)
    parameters, gmacs = SCALED_B0[scales]
    assert counts.parameters == parameters
    assert counts.macs / 1e9 == pytest.approx(gmacs, abs=6e-4)


@given(width=st.floats(0.1, 5), depth=st.floats(0.1, 6), resolution=st.integers(1, 700), classes=st.integers(1, 2000))
@settings(max_examples=200)
def test_any_scaling_agrees_with_the_independent_counter(width, depth, resolution, classes):
    counts = scaling.architecture(width, depth).count(resolution, classes)
    expected = independent_count(width, depth, resolution, classes)
    assert (counts.parameters, counts.batch_stats, counts.macs) == expected


@given(filters=st.integers(1, 2000), width=st.floats(0.05, 8))
def test_rounding_keeps_nine_tenths_and_multiples_of_8(filters, width):
    rounded = scaling.round_filters(filters, width)
    assert rounded % 8 == 0
    assert rounded >= max(8, 0.9 * filters * width)
    assert rounded <= max(8, filters * width + 8)
    assert scaling.round_filters(filters, width * 1.5) >= rounded


@given(repeats=st.integers(1, 10), depth=st.floats(0.1, 8))
def test_depth_is_rounded_up(repeats, depth):
    rounded = scaling.round_repeats(repeats, depth)
    assert rounded - 1 < repeats * depth <= rounded


@given(width=st.floats(0.3, 3), depth=st.floats(0.3, 3))
@settings(max_examples=50)
def test_blocks_follow_each_other(width, depth):
    arch = scaling.architecture(width, depth)
    assert arch.blocks[0].in_filters == arch.stem_filters
    for before, after in zip(arch.blocks, arch.blocks[1:]):
        assert before.out_filters == after.in_filters
        assert after.stage - before.stage in (0, 1)
    assert len(set(arch.layer_names)) == len(arch.blocks) + 2


def test_refusals():
    for arguments in ((0.0, 1.0), (1.0, -1.0)):
        with pytest.raises(UserError, match="positive"):
            scaling.architecture(*arguments)
    with pytest.raises(UserError, match="1 or 2"):
        scaling.architecture(stem_stride=3)
    with pytest.raises(UserError, match="did you mean 'efficientnet_b0'"):
        scaling.variant("efficientnet-b0")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_real_module_has_as_many(name):
    model = create_model(name, ops="plain")  # the same layers; that is traced in half the time
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    total = {collection: sum(leaf.size for leaf in jax.tree.leaves(shapes[collection])) for collection in shapes}
    assert (total["params"], total["batch_stats"]) == PUBLISHED[name][:2]


def equations(jaxpr):
    """Every primitive application of a jaxpr, those inside of calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: isinstance(v, Jaxpr | ClosedJaxpr)):
            if isinstance(value, Jaxpr | ClosedJaxpr):
                yield from equations(getattr(value, "jaxpr", value))


def xla_macs(equation) -> float:
    """XLA's cost analysis of one product: without padding, whose share of a window it leaves out."""
    lhs, rhs = (jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars)
    if equation.primitive.name == "dot_general":
        call = lambda a, b: jax.lax.dot_general(a, b, equation.params["dimension_numbers"])  # noqa: E731
    else:
        params, out = equation.params, equation.outvars[0].aval.shape
        k, stride = rhs.shape[0], params["window_strides"][0]
        side = stride * (out[1] - 1) + k
        lhs = jax.ShapeDtypeStruct((lhs.shape[0], side, side, lhs.shape[3]), lhs.dtype)
        call = lambda a, b: jax.lax.conv_general_dilated(  # noqa: E731
            a, b, params["window_strides"], "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=params["feature_group_count"],
        )  # fmt: skip
    return jax.jit(call).lower(lhs, rhs).cost_analysis()["flops"] / 2


def test_macs_agree_with_xla():
    """All convolutions and matrix products of the traced module."""
    model = create_model("efficientnet_b0", ops="plain")
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, images)
    products = [e for e in equations(traced.jaxpr) if e.primitive.name in ("dot_general", "conv_general_dilated")]
    assert len(products) == 1 + 16 * 5 - 1 + 2  # stem, blocks (the first has no expansion), head and classifier
    counted = counts_of("efficientnet_b0").macs
    assert sum(map(xla_macs, products)) == pytest.approx(counted, rel=0.02)
