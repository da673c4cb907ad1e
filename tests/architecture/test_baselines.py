"""Counts of ResNet and DenseNet to the digit: published figures, the real modules and hand-made cases."""

import jax
import numpy as np
import pytest

from effnet_jax import create_model
from effnet_jax.architecture import baselines, catalog, scaling
from effnet_jax.errors import UserError

# torchvision's num_params and _ops (multiply-adds in G), and trainable parameters at 100 classes with the
# stem for small images, whose 3x3 kernel has 64 * 3 * (49 - 9) weights less.
PUBLISHED = {
    "resnet50": (25_557_032, 4.089, 23_705_252),
    "resnet152": (60_192_808, 11.514, 58_341_028),
    "densenet201": (20_013_928, 4.291, 18_277_348),
}
SMALL_IMAGES = {"resnet50": 1298, "resnet152": 3722, "densenet201": 1364}  # M MACs at 32 px and 100 classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_baselines_to_the_digit(name):
    parameters, gmacs, at_100_classes = PUBLISHED[name]
    arch = baselines.baseline(name)
    counts = arch.count(224, 1000)
    assert (counts.parameters, round(counts.macs / 1e9, 3), arch.final_map(224)) == (parameters, gmacs, 7)
    small = baselines.baseline(name, stem_stride=1)
    counts = small.count(32, 100)
    assert (counts.parameters, round(counts.macs / 1e6), small.final_map(32)) == (at_100_classes, SMALL_IMAGES[name], 4)


def test_narrow_and_shallow_ones_by_hand():
    """Filters are rounded to the nearest, blocks up; of a DenseNet all filters follow from the growth rate."""
    layers = baselines.baseline("resnet50", 1, width_multiplier=0.1, depth_multiplier=0.5).layers
    assert [(layer.name, layer.out_filters) for layer in layers] == [
        ("stem", 6), ("stage1_block1", 24), ("stage1_block2", 24), ("stage2_block1", 52), ("stage2_block2", 52),
        ("stage3_block1", 104), ("stage3_block2", 104), ("stage3_block3", 104), ("stage4_block1", 204),
        ("stage4_block2", 204),
    ]  # fmt: skip
    reduce, spatial, expand, shortcut = layers[3].convolutions
    assert [c.out_filters for c in (reduce, spatial, expand, shortcut)] == [13, 13, 52, 52]
    assert reduce.in_filters == shortcut.in_filters == 24

    dense = baselines.baseline("densenet201", 1, width_multiplier=5 / 32)
    by_name = {layer.name: layer for layer in dense.layers}
    assert by_name["stem"].out_filters == 10 and by_name["stage1_block1"].out_filters == 15
    assert [c.out_filters for c in by_name["stage1_block1"].convolutions] == [20, 5]
    assert (by_name["stage1_block6"].out_filters, by_name["transition1"].out_filters) == (40, 20)
    assert baselines.baseline("resnet152", width_multiplier=0.001).head_filters == 4
    assert baselines.baseline("resnet152", depth_multiplier=1 / 36).layer_names[1:] == (
        "stage1_block1", "stage2_block1", "stage3_block1", "stage4_block1",
    )  # fmt: skip


@pytest.mark.parametrize("multipliers", [{}, {"width_multiplier": 0.2, "depth_multiplier": 0.3}])
@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_real_module_has_as_many(name, stem_stride, multipliers):
    options = {"num_classes": 100, "stem_stride": stem_stride, "allow_1x1_map": True, **multipliers}
    model = create_model(name, ops="plain", **options)  # the same layers; that is traced in half the time
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    total = [sum(leaf.size for leaf in jax.tree.leaves(shapes[kind])) for kind in ("params", "batch_stats")]
    counts = model.architecture.count(64, 100)
    assert total == [counts.parameters, counts.batch_stats]


def test_stages_of_resnet50_are_table_1_of_its_paper():
    layers = baselines.baseline("resnet50").count(224, 1000).layers
    last = {layer.stage: layer for layer in layers}
    assert [(last[s].output_size, last[s].output_filters) for s in range(5)] == [
        (56, 64), (56, 256), (28, 512), (14, 1024), (7, 2048),
    ]  # fmt: skip
    assert [sum(layer.stage == s for layer in layers) for s in range(1, 5)] == [3, 4, 6, 3]
    strides = {layer.name: layer.stride for layer in layers if layer.stride > 1}
    assert strides == {"stem": 4, "stage2_block1": 2, "stage3_block1": 2, "stage4_block1": 2}
    # By hand: 7x7 sees 7 pixels and the pool 4 more; then 3x3 steps of 4, 8, 16 and 32 pixels. The convolution
    # that strides still takes steps of the stage before.
    assert [last[s].receptive_field for s in range(5)] == [11, 11 + 24, 35 + 8 + 48, 91 + 16 + 160, 267 + 32 + 128]


def test_odd_sizes_are_rounded_as_the_layers_do():
    """Convolutions and maxima round up, the means of a DenseNet's transitions down."""
    assert baselines.baseline("resnet50").final_map(61) == 2
    assert [baselines.baseline("densenet201").final_map(size) for size in (61, 95, 96, 97)] == [2, 3, 3, 3]
    assert baselines.baseline("densenet201", stem_stride=1).final_map(31) == 3


def test_layers_by_name():
    arch = baselines.baseline("resnet50")
    assert arch.resolve_layer("head") == arch.resolve_layer("stage4") == "stage4_block3" == arch.layer_names[-1]
    dense = baselines.baseline("densenet201")
    assert dense.resolve_layer("stage3") == "stage3_block48" and dense.layer_names[-1] == "head"
    with pytest.raises(UserError, match="no layer 'stage5'"):
        arch.resolve_layer("stage5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet-50"}, "write 'resnet50'"),
        ({"name": "resnet50", "width_multiplier": 0.0}, "must be positive"),
        ({"name": "resnet152", "depth_multiplier": -0.5}, "must be positive"),
        ({"name": "densenet201", "stage_strides": (1, 2, 2, 2)}, "no stage_strides"),
        ({"name": "densenet201", "stochastic_depth_rate": 0.2}, "no stochastic_depth_rate"),
        ({"name": "resnet50", "stem_stride": 4}, "stem_stride of resnet50"),
    ],
)
def test_refused(options, message):
    with pytest.raises(UserError, match=message):
        create_model(**options)


@pytest.mark.parametrize("name", catalog.MODELS)
def test_the_catalog_describes_what_is_built(name):
    assert create_model(name).architecture == catalog.architecture(name)
    assert catalog.published(name).resolution == (224 if name in baselines.NAMES else scaling.FAMILY[name].resolution)
