"""An ONNX file gives what the model gives, run by onnxruntime."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

import effnet_jax
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from tests import forked
from tests.checkpoints import LABELS, with_statistics, write_checkpoint
from tests.well_conditioned import well_conditioned

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from effnet_jax.export import onnx_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Slivers with every kind of layer: strides, both kernel sizes, squeeze-and-excitation, residual blocks, pooling.
SLIVERS = {
    "efficientnet_b0": {"width_multiplier": 0.05, "depth_multiplier": 0.25},
    "resnet50": {"width_multiplier": 0.125, "depth_multiplier": 0.34},
    "densenet201": {"width_multiplier": 0.25, "depth_multiplier": 0.1},
}
FAMILY = [*(f"efficientnet_b{number}" for number in range(8)), "resnet50", "resnet152", "densenet201"]


def run(content, images):
    (result,) = onnxruntime.InferenceSession(content).run(None, {"images": images})
    return result


def count_norms(content):
    return [node.op_type for node in onnx.load_from_string(content).graph.node].count("BatchNormalization")


def loaded(folder, name, resolution, crop_fraction=1.0, **options):
    write_checkpoint(folder, resolution=resolution, crop_fraction=crop_fraction, model={"name": name, **options})
    return effnet_jax.load(folder)


def assert_equal_logits(net, *folds):
    """Returns the files, BatchNorm folded into convolutions or not."""
    images = np.random.default_rng(0).normal(size=(3, net.resolution, net.resolution, 3)).astype(np.float32)
    expected = np.asarray(jax.jit(lambda v, x: net.model.apply(v, x, train=False))(net.variables, images))
    contents = [onnx_file.serialize(net, output="logits", fold_batch_norm=fold) for fold in folds]
    for content, count in itertools.product(contents, (3, 1)):
        found = run(content, images[:count].transpose(0, 3, 1, 2))
        assert np.abs(found - expected[:count]).max() <= 1e-4 * np.abs(expected).max()
    return contents


@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
@pytest.mark.parametrize("name", SLIVERS)
def test_logits_are_equal(name, padding, tmp_path):
    # Even and odd numbers of pixels meet at the strides, where the two paddings differ.
    loaded(tmp_path, name, 80 if name == "densenet201" else 50, padding=padding, **SLIVERS[name])
    net = effnet_jax.load(tmp_path, fold=False)
    net.variables = with_statistics(net.variables)
    folded, unfolded = assert_equal_logits(net, True, False)
    leaves = jax.tree_util.tree_leaves_with_path(net.variables["batch_stats"])
    norms = sum(path[-1].key == "mean" for path, _ in leaves)
    assert (count_norms(folded), count_norms(unfolded)) == (0, norms)


def test_batch_norms_that_are_folded_already_cannot_be_had(tmp_path):
    net = loaded(tmp_path, "efficientnet_b0", 32, **SLIVERS["efficientnet_b0"])
    with pytest.raises(UserError, match="fold=False"):
        onnx_file.serialize(net, fold_batch_norm=False)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "SYMMETRIC"])
@pytest.mark.parametrize("name", FAMILY)
def test_logits_of_the_whole_family_are_equal(name, padding, tmp_path):
    resolution = round(64 * scaling.FAMILY[name].resolution / 224) if name in scaling.FAMILY else 64
    net = loaded(tmp_path, name, resolution, padding=padding)
    net.variables = well_conditioned(name, len(LABELS))  # fifty blocks of plain random weights overflow
    assert_equal_logits(net, True)


@pytest.mark.parametrize(("size", "crop_fraction"), [(None, 0.875), (73, 0.875), (40, 1.0)])
def test_with_preprocessing_it_takes_images_as_they_are(size, crop_fraction, tmp_path):
    net = loaded(tmp_path, "efficientnet_b0", 48, crop_fraction, **SLIVERS["efficientnet_b0"])
    side = size or onnx_file.default_side(net, True)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    found = run(onnx_file.serialize(net, size, preprocessing=True), images)
    np.testing.assert_allclose(found, net.predict(images), atol=1e-4)


def test_the_program_writes_it_with_its_class_names(tmp_path):
    write_checkpoint(tmp_path / "run", resolution=32)
    command = ("scripts/export.py", tmp_path / "run", "--to=onnx", f"--output={tmp_path / 'm.onnx'}")
    done = forked.run(*command, with_jax=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "float32 [N, 3, 32, 32] -> float32 [N, 5] probabilities"
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert tuple(json.loads(properties["class_names"])) == LABELS


def test_a_size_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="must be positive, got 0"):
        onnx_file.serialize(loaded(tmp_path, "efficientnet_b0", 32, **SLIVERS["efficientnet_b0"]), 0)
