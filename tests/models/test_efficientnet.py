import jax
import jax.numpy as jnp
import numpy as np
import pytest

import effnet_jax
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from tests.checkpoints import random_variables
from tests.short import four_blocks, two_blocks

SMALL = dict(width_multiplier=0.05, stem_stride=1, stage_strides=(1, 2, 2, 1, 1, 1, 1))


def example():
    model = effnet_jax.create_model("efficientnet_b0", num_classes=7, **SMALL)
    images = jax.random.normal(jax.random.key(0), (2, 12, 12, 3))
    return model, random_variables(model.architecture, 7), images


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(scaling, "round_repeats", four_blocks)
    return example()


def test_every_layer_splits_the_model_into_features_and_head(small):
    model, variables, images = small
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32

    @jax.jit
    def through_each_layer(variables, images):
        maps = model.apply(variables, images, model.architecture.layer_names, method="intermediates")
        return {name: model.apply(variables, maps[name], layer=name, method="head") for name in maps}

    for name, rest in through_each_layer(variables, images).items():
        np.testing.assert_allclose(rest, logits, rtol=1e-4, atol=1e-5, err_msg=name)


def test_intermediates_give_several_named_maps_in_one_pass(small):
    model, variables, images = small
    names = ("stage2", "stage3_block1", "head")
    maps = jax.eval_shape(lambda: model.apply(variables, images, names, method="intermediates"))
    counts = {layer.name: layer for layer in model.architecture.count(12, 7).layers}
    for name, resolved in (("stage2", "stage2_block1"), ("stage3_block1",) * 2, ("head",) * 2):
        layer = counts[resolved]
        assert maps[name].shape == (2, layer.output_size, layer.output_size, layer.output_filters)


def test_unknown_layer_is_named_with_the_nearest(small):
    model, variables, images = small
    with pytest.raises(UserError, match=r"no layer 'stage_3' \(did you mean 'stage3'"):
        model.apply(variables, images, layer="stage_3", method="features")


def test_unknown_model_is_named_with_the_nearest():
    with pytest.raises(UserError, match="'efficientnet-b0': write 'efficientnet_b0'"):
        effnet_jax.create_model("efficientnet-b0")


def test_a_single_pixel_map_needs_consent():
    model = effnet_jax.create_model("efficientnet_b0", width_multiplier=0.25, depth_multiplier=0.2)
    with pytest.raises(UserError, match="1x1 head map"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    consenting = model.copy(allow_1x1_map=True)
    jax.eval_shape(lambda: consenting.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(small):
    model, variables, images = small
    half = effnet_jax.create_model("efficientnet_b0", num_classes=7, dtype="bfloat16", **SMALL)
    half_variables = jax.eval_shape(lambda: half.init(jax.random.key(1), images, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype("float32")}
    fmap = jax.eval_shape(lambda: half.apply(variables, images, method="features"))
    assert fmap.dtype == jnp.bfloat16
    rngs = {"dropout": jax.random.key(2)}
    logits, mutated = jax.eval_shape(
        lambda: half.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
    )
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(mutated)} == {jnp.dtype("float32")}
    full = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    rounded = jax.jit(lambda v, x: half.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(rounded, full, rtol=0.1, atol=0.02)


def test_remat_changes_nothing_but_memory(monkeypatch):
    monkeypatch.setattr(scaling, "round_repeats", two_blocks)
    model, variables, images = example()

    def loss(params, model):
        logits, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        return jnp.sum(logits**2)

    plain = jax.jit(lambda p: jax.grad(loss)(p, model))(variables["params"])
    again = jax.jit(lambda p: jax.grad(loss)(p, model.copy(remat=True)))(variables["params"])
    # BatchNorm makes some gradients zero but for rounding, so the bound is on the whole tree's scale.
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain))
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(again)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def test_multipliers_compose_with_the_named_variant():
    model = effnet_jax.create_model("efficientnet_b4", width_multiplier=0.5, depth_multiplier=2.0)
    assert model.width_multiplier == 0.7 and model.depth_multiplier == 3.6
    assert model.dropout_rate == 0.4


@pytest.mark.parametrize("strides", [(1, 2, 2), (1, 2, 2, 2, 1, 2, 3)])
def test_impossible_strides_are_refused(strides):
    with pytest.raises(UserError, match="stage_strides"):
        effnet_jax.create_model("efficientnet_b0", stage_strides=strides)
