"""Images of one channel, or four: counts, adapted weights, and what reaches the model."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

import effnet_jax
from effnet_jax import config as config_lib
from effnet_jax.architecture import catalog
from effnet_jax.errors import UserError
from effnet_jax.inference import Classifier
from effnet_jax.models.channels import adapted_constants, adapted_kernel
from effnet_jax.training import checkpoint
from effnet_jax.training.setup import build
from effnet_jax.training.weights_file import Loaded
from tests.checkpoints import MODEL, write_checkpoint

KERNEL = np.random.default_rng(0).standard_normal((3, 3, 3, 8)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet50", "densenet201"])
def test_parameters_and_macs(name, channels):
    model = effnet_jax.create_model(name, 7, in_channels=channels)
    images = jax.ShapeDtypeStruct((1, 64, 64, channels), np.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    counts, colour = (catalog.architecture(name, in_channels=c).count(64, 7) for c in (channels, 3))
    assert model.architecture.in_channels == channels
    assert counts.parameters == sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    kernel = shapes["params"]["stem"]["conv"]["kernel"].size // channels
    assert counts.macs - colour.macs == (channels - 3) * kernel * 32 * 32


def test_other_images_are_refused():
    model = effnet_jax.create_model("efficientnet_b0", in_channels=4)
    with pytest.raises(UserError, match="the images have 3 channels but this model takes 4"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32), train=False))
    for name in ("efficientnet_b0", "resnet50"):
        with pytest.raises(UserError, match="at least 1, not 0"):
            effnet_jax.create_model(name, in_channels=0)


def test_a_grey_image_gives_what_it_gave_as_colour():
    grey = np.random.default_rng(1).standard_normal((3, 3))
    as_colour = np.einsum("hw,hwco->o", grey, KERNEL)
    np.testing.assert_allclose(
        np.einsum("hwc,hwco->o", grey[..., None], adapted_kernel(KERNEL, 1)), as_colour, rtol=1e-5
    )
    for channels in (2, 4, 6):
        repeated = adapted_kernel(KERNEL, channels)
        assert repeated.shape == (3, 3, channels, 8) and repeated.dtype == np.float32
        np.testing.assert_allclose(repeated[:, :, -1], KERNEL[:, :, (channels - 1) % 3] * 3 / channels, rtol=1e-6)
    np.testing.assert_allclose(
        adapted_kernel(adapted_kernel(KERNEL, 6), 1), adapted_kernel(KERNEL, 1), rtol=1e-4, atol=1e-5
    )
    assert adapted_kernel(KERNEL, 3) is KERNEL
    with pytest.raises(UserError, match="weights for 4 channels cannot be adapted to 3"):
        adapted_kernel(adapted_kernel(KERNEL, 4), 3)


def test_constants():
    assert adapted_constants((0.25, 0.5, 0.75), 1) == (0.5,)
    assert adapted_constants((0.25, 0.5, 0.75), 4) == (0.25, 0.5, 0.75, 0.25)
    assert adapted_constants((0.25,), 3) == (0.25, 0.25, 0.25)
    assert adapted_constants([0.25, 0.5, 0.75], 3) == (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("colour") / "run"
    write_checkpoint(path)
    return path


def net_of(folder, channels):
    """The classifier of a checkpoint for colour, for images of other channels."""
    loaded = checkpoint.load(folder)
    options = MODEL | {"in_channels": channels}
    _, variables = effnet_jax.create_model(**options, pretrained=folder)
    preprocess = dict(loaded.metadata["preprocess"])
    preprocess |= {key: adapted_constants(preprocess[key], channels) for key in ("mean", "std")}
    return Classifier(Loaded(variables, loaded.metadata | {"model": options, "preprocess": preprocess}, 0, False))


def test_grey_images_and_colour_ones_made_grey(folder, tmp_path):
    net = net_of(folder, 1)
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    embedded = net.embed(grey)
    size = np.abs(embedded).max()
    assert np.ptp(embedded, axis=0).max() > 0.1 * size, "different images differ"
    np.testing.assert_allclose(net.embed(np.repeat(grey, 3, axis=-1)), embedded, atol=0.01 * size)
    np.testing.assert_allclose(net.embed(list(grey)), embedded, atol=0.01 * size)
    Image.fromarray(grey[0, ..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_allclose(net.embed(tmp_path / "grey.png")[0], embedded[0], atol=0.01 * size)
    with pytest.raises(UserError, match=r"\[N, height, width, 1\], but one was given of \[64, 64, 2\]"):
        net.predict(np.zeros((2, 64, 64, 2), np.uint8))


def test_multispectral_images(folder, tmp_path):
    net = net_of(folder, 4)
    np.testing.assert_allclose(net.preprocess.mean, (0.5, 0.4, 0.3, 0.5))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 70, 4), dtype=np.uint8)
    probabilities = net.predict(images)
    np.testing.assert_allclose(net.predict(list(images)), probabilities, atol=1e-3)
    changed = images.copy()
    changed[..., 3] = 0
    assert np.abs(net.predict(changed) - probabilities).max() > 1e-3, "the fourth channel is seen"
    Image.new("RGB", (64, 64)).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour.png is \[64, 64, 3\], but this model sees \[height, width, 4\]"):
        net.predict(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"an image is \[64, 64, 3\], but"):
        net.predict([np.zeros((64, 64), np.uint8)])


def test_a_run_that_sees_grey(folder, tiny_config):
    tiny_config.model.in_channels = 1
    tiny_config.init_from = str(folder)
    setup = build(tiny_config)
    assert setup.description["preprocess"]["mean"] == pytest.approx([0.4])
    assert any(note == "stem      adapted from 3 channels to 1" for note in setup.notes)
    stem = checkpoint.load(folder).variables["params"]["stem"]["conv"]["kernel"]
    kept = setup.kept["params", "stem", "conv", "kernel"]
    np.testing.assert_allclose(kept, np.sum(stem, axis=2, keepdims=True), rtol=1e-5)


def test_configs_and_runs_from_before_there_were_channels(tiny_config):
    stored = config_lib.flatten(tiny_config)
    del stored["model.in_channels"]
    assert config_lib.changed_keys(stored, tiny_config) == []
    assert config_lib.changed_between({"train.seed": 0}, {"train.seed": 0, "train.model.in_channels": 3}) == []
    tiny_config.model.in_channels = 1
    assert config_lib.changed_keys(stored, tiny_config) == ["model.in_channels: 3 -> 1"]
    tiny_config.model.in_channels = 4
    with pytest.raises(UserError, match="in_channels is 3, or 1 for grey, not 4"):
        config_lib.check(tiny_config)
