"""BatchNorms folded into convolutions: the same network in inference."""

import jax
import numpy as np
import pytest

import effnet_jax
from effnet_jax.errors import UserError
from effnet_jax.models.folding import fold, is_folded
from effnet_jax.training import checkpoint
from tests import short
from tests.checkpoints import with_statistics, write_checkpoint

four_blocks = short.networks_of(short.four_blocks)
NETWORKS = {
    "efficientnet_b0": {"width_multiplier": 0.25},
    "resnet50": {"width_multiplier": 0.125, "depth_multiplier": 0.25},
    "densenet201": {"width_multiplier": 0.125, "depth_multiplier": 0.1},
}


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request):
    """A model and variables of it with statistics as after a training."""
    model = effnet_jax.create_model(request.param, 5, **NETWORKS[request.param])
    images = np.zeros((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(leaf):
        return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)

    return model, with_statistics(jax.tree.map(draw, shapes))


def test_it_computes_the_same(pair):
    model, variables = pair
    images = np.random.default_rng(2).normal(size=(3, 64, 64, 3)).astype(np.float32)
    folded = fold(model, variables)
    for method, allowed in (("__call__", 1e-5), ("features", 1e-5)):
        expected, found = (
            np.asarray(jax.jit(lambda v, x: model.apply(v, x, train=False, method=method))(v, images))  # noqa: B023
            for v in (variables, folded)
        )
        assert np.std(expected) > 1e-3
        assert np.abs(found - expected).max() <= allowed * np.abs(expected).max(), method


def test_what_is_left_of_them(pair):
    model, variables = pair
    folded = fold(model, variables)
    assert folded["batch_stats"] == {}
    before, after = (jax.tree_util.tree_leaves_with_path(v["params"]) for v in (variables, folded))
    norms = [path for path, _ in before if path[-1].key == "scale"]
    left = [path[-1].key for path, _ in after if path[-1].key in ("shift", "factor")]
    assert left.count("shift") == len(norms)
    has_own = "dense" in type(model).__name__.lower()  # the first BatchNorm of each of its layers
    assert (0 < left.count("factor") < len(norms)) if has_own else "factor" not in left
    assert is_folded(folded)
    assert not is_folded(variables)


def test_folding_twice_changes_nothing(pair):
    model, variables = pair
    once = fold(model, variables)
    twice = fold(model, once)
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_it_cannot_be_trained(pair):
    model, variables = pair
    images = np.zeros((2, 64, 64, 3), np.float32)
    with pytest.raises(UserError, match="fold=False"):
        model.apply(fold(model, variables), images, train=True, rngs={"dropout": jax.random.key(0)})


def test_who_folds(tmp_path):
    write_checkpoint(tmp_path, resolution=32)
    trained = checkpoint.load(tmp_path).variables
    assert is_folded(effnet_jax.load(tmp_path).variables)
    kept = effnet_jax.load(tmp_path, fold=False)
    jax.tree.map(np.testing.assert_array_equal, kept.variables, trained)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(effnet_jax.load(tmp_path).predict(images), kept.predict(images), atol=1e-5)
