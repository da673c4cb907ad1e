"""ResNet and DenseNet as modules: small ones of the real layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import effnet_jax
from effnet_jax.architecture import baselines
from effnet_jax.errors import UserError
from tests.checkpoints import random_variables

NAMES = ("resnet50", "densenet201")


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Every kind of layer once or twice."""
    monkeypatch.setitem(baselines.RESNET_BLOCKS, "resnet50", (2, 1, 2))
    monkeypatch.setitem(baselines.DENSENET_BLOCKS, "densenet201", (2, 3))


def make(name, **options):
    model = effnet_jax.create_model(name, num_classes=7, stem_stride=1, **options)
    images = jax.random.normal(jax.random.key(0), (2, 13, 13, 3))
    return model, random_variables(model.architecture, 7), images


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_splits_the_model_into_features_and_head(name):
    model, variables, images = make(name)
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32

    @jax.jit
    def through_each_layer(variables, images):
        maps = model.apply(variables, images, (*model.layer_names, "head"), method="intermediates")
        return maps, {name: model.apply(variables, maps[name], layer=name, method="head") for name in maps}

    maps, rests = through_each_layer(variables, images)
    assert np.ptp(np.asarray(logits)) > 0.01
    for layer, rest in rests.items():
        np.testing.assert_allclose(rest, logits, rtol=1e-4, atol=1e-5, err_msg=layer)
    for count in model.architecture.count(13, 7).layers[:-1]:
        assert maps[count.name].shape == (2, count.output_size, count.output_size, count.output_filters)
    assert maps["head"].min() == 0, "the head map is what an activation gave"


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(name):
    model, variables, images = make(name)
    half = effnet_jax.create_model(name, num_classes=7, stem_stride=1, dtype="bfloat16")
    half_variables = jax.eval_shape(lambda: half.init(jax.random.key(1), images, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(half_variables)} == {jnp.dtype("float32")}
    assert jax.eval_shape(lambda: half.apply(variables, images, method="features")).dtype == jnp.bfloat16
    full = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    rounded = jax.jit(lambda v, x: half.apply(v, x, train=False))(variables, images)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, full, rtol=0.1, atol=0.1 * np.abs(full).max())


@pytest.mark.parametrize("name", NAMES)
def test_remat_changes_nothing_but_memory(name):
    model, variables, images = make(name)

    def gradients(model):
        def loss(params):
            out = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
            return jnp.sum(out[0] ** 2)

        return jax.jit(jax.grad(loss))(variables["params"])

    plain, again = gradients(model), gradients(model.copy(remat=True))
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain))
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(again)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def test_stochastic_depth_drops_the_blocks_that_keep_the_shape():
    model = effnet_jax.create_model("resnet50", stochastic_depth_rate=0.5)
    bound = model.bind({})
    survival = {name: getattr(bound, name).survival_probability for name in model.layer_names[1:]}
    assert survival == {
        "stage1_block1": 1.0, "stage1_block2": 0.9, "stage2_block1": 1.0, "stage3_block1": 1.0, "stage3_block2": 0.6,
    }  # fmt: skip
    model, variables, images = make("resnet50", stochastic_depth_rate=0.999)
    block = "stage3_block2"

    @jax.jit
    def ends(key):
        maps, _ = model.apply(
            variables, images, ("stage3_block1", block), True, method="intermediates", rngs={"dropout": key},
            mutable=["batch_stats"],
        )  # fmt: skip
        return maps

    # Not to the bit: the compiler computes what enters the block once for each of its readers.
    equal = [jnp.allclose(*ends(jax.random.key(seed)).values(), rtol=1e-5, atol=1e-5) for seed in range(4)]
    assert any(equal) and not all(equal)


def test_the_published_stem_pools_and_the_small_one_does_not():
    images = jax.ShapeDtypeStruct((1, 48, 48, 3), np.float32)
    for stride, side, kernel in ((2, 12, 7), (1, 48, 3)):
        model = effnet_jax.create_model("densenet201", stem_stride=stride)
        variables = jax.eval_shape(lambda x, model=model: model.init(jax.random.key(0), x, train=False), images)
        stem = jax.eval_shape(lambda v, x, m=model: m.apply(v, x, layer="stem", method="features"), variables, images)
        assert stem.shape == (1, side, side, 64)
        assert variables["params"]["stem"]["conv"]["kernel"].shape == (kernel, kernel, 3, 64)


def test_too_small_an_image_is_refused_even_with_consent():
    model = effnet_jax.create_model("densenet201", allow_1x1_map=True)
    with pytest.raises(UserError, match="4x4 input is too small"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False))


@pytest.mark.parametrize("name", NAMES)
def test_a_new_classifier_starts_as_that_of_pytorch(name):
    """By its inputs: with many classes and few features, logits would else be too large."""
    model = effnet_jax.create_model(name, num_classes=100, stem_stride=1)
    variables = jax.jit(lambda: model.init(jax.random.key(1), jnp.zeros((1, 13, 13, 3)), train=False))()
    kernel = np.asarray(variables["params"]["classifier"]["kernel"])
    assert np.abs(kernel).max() * np.sqrt(kernel.shape[0]) == pytest.approx(1, abs=0.01)
