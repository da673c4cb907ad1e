"""Models in one file, and the one that comes with the package."""

import json
import os
import pathlib

import numpy as np
import pytest

import effnet_jax
from effnet_jax import safetensors
from effnet_jax.data.disk import descriptions, files, records
from effnet_jax.errors import UserError
from effnet_jax.training import checkpoint, weights_file
from tests.checkpoints import LABELS

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "half_b0_cifar100"
RECORD = json.loads((ROOT / "results/recipes/runs/half_b0_cifar100_seed0/results.json").read_text())
PREPARED = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / "cifar100"


def test_a_file_stands_for_its_checkpoint(small_checkpoint, tmp_path):
    file = tmp_path / "model.safetensors"
    weights_file.write(file, checkpoint.load(small_checkpoint))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    ours, theirs = effnet_jax.load(file), effnet_jax.load(small_checkpoint)
    assert ours.labels == theirs.labels == LABELS and ours.preprocess == theirs.preprocess
    np.testing.assert_allclose(ours.predict(images), theirs.predict(images), atol=0.02)
    held = {str(array.dtype) for array in safetensors.read(file)[0].values()}
    assert held == {"bfloat16", "float32"}


def test_refused(small_checkpoint, tmp_path):
    file, foreign, damaged = (tmp_path / f"{name}.safetensors" for name in ("ours", "foreign", "damaged"))
    weights_file.write(file, checkpoint.load(small_checkpoint))
    safetensors.write(foreign, {"conv_stem.weight": np.zeros(3, np.float32)}, {"format": "pt"})
    damaged.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match="holds raw weights alone"):
        effnet_jax.load(file, "ema")
    with pytest.raises(UserError, match=r"another program.*import_weights"):
        effnet_jax.load(foreign)
    with pytest.raises(UserError, match="no whole safetensors"):
        effnet_jax.load(damaged)
    with pytest.raises(UserError, match=rf"does not exist.*come with effnet_jax: .*{NAME}"):
        effnet_jax.load("no_such_model")


def test_a_path_goes_before_a_name(small_checkpoint, tmp_path, monkeypatch):
    (tmp_path / NAME).symlink_to(small_checkpoint)
    monkeypatch.chdir(tmp_path)
    assert effnet_jax.load(NAME).labels == LABELS


def test_the_model_that_comes_with_the_package_is_that_of_its_record():
    assert NAME in weights_file.names()
    file = weights_file.find(NAME)
    assert file.stat().st_size < 2_000_000
    net = effnet_jax.load(NAME)
    assert (net.step, net.ema) == (RECORD["selected_step"], RECORD["selected_weights"] == "ema")
    assert net.metadata["validation"] == RECORD["validation"]
    assert len(net.labels) == 100 and "tulip" in net.labels


@pytest.mark.skipif(not PREPARED.is_dir(), reason=f"CIFAR-100 is not prepared at {PREPARED.parent}")
def test_it_is_as_accurate_as_it_was():
    """On the first 1,000 test images: all 10,000 take 10 s on two cores and give 66.1 %, the record's figure."""
    prepared = descriptions.find("cifar100", PREPARED.parent, 100)
    with files.Progress("decoding", 10_000, "images") as progress:
        images, labels = records.decode(prepared, "test", (32, 32), progress)
    net = effnet_jax.load(NAME)
    right = np.mean(net.predict(images[:1000], 250).argmax(-1) == labels[:1000])
    assert right == pytest.approx(0.675, abs=0.003), "the checkpoint it was made of gives 67.3 % of these images"
    assert abs(right - RECORD["test"]["ema_accuracy"]) < 0.04, "three standard deviations of 1,000 images"
