import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import default
from effnet_jax.data.device import pipeline
from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.augment.crop import crop_and_flip
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.sets.splits import Split
from effnet_jax.process import sharding

IDENTITY = Preprocess(8, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves 0..255 as it is


def random_split(count=40, size=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    return Split(images=images, labels=np.arange(count, dtype=np.int32))


def pipe_of(devices=1, **changes):
    """A pipeline that augments by nothing but `changes` of config.augment."""
    mesh = sharding.data_mesh(jax.devices()[:devices])
    config = default.get_config().augment
    config.update(crop_padding=0, flip=False)
    config.update(changes)
    pipe = pipeline.Pipeline(mesh, IDENTITY, Augmentation.from_config(config), 40)
    return pipe, pipeline.to_device(random_split(), mesh)


def batch_of(pipe, split, indices, seed, mixed):
    """The batch of an epoch that is nothing but `indices`."""
    function = jax.jit(pipe.train_batch, static_argnums=2)
    feed = pipeline.ResidentFeed(split, indices)
    return function(feed, jnp.array(0), len(indices), jax.random.key(seed), jnp.array(mixed))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), padding=st.integers(0, 4), flip=st.booleans())
def test_each_image_is_a_shifted_crop_of_its_reflected_self_or_of_its_mirror(seed, padding, flip):
    rows, columns = crop_and_flip(jax.random.key(seed), 5, 8, 8, padding=padding, flip=flip)
    line = np.arange(8)
    padded = np.pad(line, padding, mode="reflect")
    allowed = [tuple(padded[i : i + 8]) for i in range(2 * padding + 1)]
    assert {tuple(row) for row in np.asarray(rows)} <= set(allowed)
    mirrored = [crop[::-1] for crop in allowed] if flip else []
    assert {tuple(column) for column in np.asarray(columns)} <= {*allowed, *mirrored}


def test_all_shifts_and_both_mirrorings_occur_about_equally_often():
    # up to 2 pixels: at 4 some mirrored crops of an 8-pixel line coincide with plain ones
    rows, columns = crop_and_flip(jax.random.key(0), 10_000, 8, 8, padding=2, flip=True)
    _, counts = np.unique(np.asarray(rows), axis=0, return_counts=True)
    assert len(counts) == 5 and counts.min() > 1850
    _, counts = np.unique(np.asarray(columns), axis=0, return_counts=True)
    assert len(counts) == 10 and counts.min() > 880


def test_train_batch_without_augmentation_is_the_examples_asked_for():
    pipe, split = pipe_of()
    indices = jnp.array([3, 0, 39, 3])
    batch = batch_of(pipe, split, indices, 0, True)
    np.testing.assert_allclose(batch["image"], random_split().images[np.asarray(indices)], rtol=1e-6)
    np.testing.assert_array_equal(batch["label"], indices)


EVERYTHING = {
    "crop_padding": 2,
    "flip": True,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "policy": "trivialaugment",
    "cutout_size": 3,
    "erasing_probability": 0.5,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
}


@pytest.mark.parametrize("changes", [{"crop_padding": 2, "flip": True}, EVERYTHING])
def test_train_batch_is_the_same_on_any_number_of_devices(changes):
    batches = []
    for devices in (1, 8):
        pipe, split = pipe_of(devices, **changes)
        batches.append(batch_of(pipe, split, jnp.arange(16), 5, True))
    jax.tree.map(np.testing.assert_array_equal, *map(lambda b: jax.tree.map(np.asarray, b), batches))
    assert len(batches[1]["image"].addressable_shards) == 8
    assert batches[1]["image"].addressable_shards[0].data.shape[0] == 2


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_visits_every_example_once_in_an_order_of_its_own(epoch):
    order = pipeline.epoch_order(jax.random.key(0), epoch, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (np.asarray(order) != np.asarray(pipeline.epoch_order(jax.random.key(0), epoch + 1, 1000))).any()
    np.testing.assert_array_equal(order, pipeline.epoch_order(jax.random.key(0), epoch, 1000))


def test_mixing_can_be_held_off():
    pipe, split = pipe_of(mixup_alpha=1.0)
    mixed, plain = (batch_of(pipe, split, jnp.arange(8), 0, flag) for flag in (True, False))
    np.testing.assert_array_equal(plain["label"], np.eye(40)[:8])
    np.testing.assert_allclose(plain["image"], random_split().images[:8], rtol=1e-6)
    share = np.asarray(mixed["label"])[np.arange(8), np.arange(8)]
    assert (share < 1).all()
    expected = share[:, None, None, None] * plain["image"] + (1 - share)[:, None, None, None] * plain["image"][::-1]
    np.testing.assert_allclose(mixed["image"], expected, rtol=1e-5, atol=1e-3)


def test_erased_pixels_have_the_mean_colour():
    pipe, split = pipe_of(cutout_size=100)
    batch = batch_of(pipe, split, jnp.arange(8), 0, False)
    np.testing.assert_array_equal(batch["image"], 0)  # the mean of `IDENTITY`


def test_colour_jitter_stays_in_its_range():
    pipe, split = pipe_of(brightness=0.5)
    batch = batch_of(pipe, split, jnp.arange(40), 0, False)
    images = random_split().images
    factor = np.asarray(batch["image"]).reshape(40, -1)[:, :].mean(1) / images.reshape(40, -1).mean(1)
    assert 0.45 < factor.min() < 0.65 and 1.05 < factor.max() < 1.5, "bright levels are cut off at 255"


def test_hue_jitter_turns_each_image_on_its_own_and_leaves_the_value():
    pipe, split = pipe_of(hue=0.5)
    images = random_split().images[[7] * 40]
    same = split._replace(images=jnp.asarray(images))
    found = np.asarray(batch_of(pipe, same, jnp.arange(40), 0, False)["image"])
    np.testing.assert_array_equal(found.max(-1), images.max(-1))
    assert len(np.unique(found.reshape(40, -1), axis=0)) > 30
