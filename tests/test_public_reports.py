"""What people report of other libraries, tried here; docs/reports.md lists them with the tests that hold elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import effnet_jax
from effnet_jax.cam.registry import METHODS
from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
from tests.cam.tiny import Tiny
from tests.checkpoints import LABELS
from tests.short import four_blocks, networks_of

short_networks = networks_of(four_blocks)


@pytest.fixture(scope="module")
def net(small_checkpoint):
    return effnet_jax.load(small_checkpoint)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 73, 73, 3)).astype(np.uint8)


def test_a_batch_gives_what_its_images_give_one_by_one(net, images):
    whole = net.features(images)
    one_by_one = np.concatenate([net.features(image) for image in images])
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_a_pass_in_training_mode_changes_no_later_answer(small_checkpoint, images):
    net = effnet_jax.load(small_checkpoint, fold=False)
    before = net.predict(images)
    key = {"dropout": jax.random.key(0), "stochastic_depth": jax.random.key(1)}
    train = jax.jit(lambda v, x: net.model.apply(v, x, train=True, rngs=key, mutable=["batch_stats"]))
    _, moved = train(net.variables, net.preprocess(images))
    pairs = zip(jax.tree.leaves(moved), jax.tree.leaves(net.variables["batch_stats"]))
    assert any((new != old).any() for new, old in pairs), "the statistics move, in what is returned"
    np.testing.assert_array_equal(net.predict(images), before)


@pytest.mark.parametrize("name", METHODS)
def test_a_map_of_no_evidence_or_a_black_image_is_no_nan(name):
    model = Tiny()
    black = jnp.zeros((2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), black)
    dead = jax.tree.map(jnp.zeros_like, variables)
    against = jax.tree.map(lambda leaf: -jnp.abs(leaf), variables)  # every class speaks against itself
    for weights in (variables, dead, against):
        for target in (None, np.array([1, 3])):
            maps = np.asarray(METHODS[name](model, weights, black, target, None))
            assert maps.shape == (2, 16, 16)
            assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1


def test_maps_in_a_loop_keep_nothing(caplog):
    model = Tiny()
    images = jnp.ones((2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    explain = lambda step: effnet_jax.cam.grad_cam(model, variables, images + step, np.array([step % 5] * 2))  # noqa: E731
    jax.block_until_ready(explain(0))
    held = len(jax.live_arrays())
    with jax.log_compiles():
        for step in range(20):
            jax.block_until_ready(explain(step))
    assert len(jax.live_arrays()) <= held
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]


def test_classes_are_named_not_counted(small_checkpoint, tmp_path):
    """Folders 10, 2, 1 sort as text; a truck is a truck whatever number its folder has there."""
    for index, name in enumerate(("truck", "cat")):
        for split in ("train", "val"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                path = tmp_path / split / name / f"{number}.png"
                Image.fromarray(np.full((70, 70, 3), 60 * index + number, np.uint8)).save(path)
    net = effnet_jax.load(small_checkpoint)
    guesses = net.predict(sorted(tmp_path.glob("val/*/*.png"))).argmax(1)
    expected = [LABELS.index(path.parent.name) for path in sorted(tmp_path.glob("val/*/*.png"))]
    found = evaluate_checkpoint(small_checkpoint, batch_size=8, dataset=f"folder:{tmp_path}")
    assert found["count"] == 8
    assert found["accuracy"] == pytest.approx(np.mean(guesses == expected))
