"""Photographs decoded once: the same crops, and a cache that is whole or not there."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data import datasets
from effnet_jax.data.device.streamed import training_batches
from effnet_jax.errors import UserError
from tests.data import photographs

OPTIONS = {"resolution": 8, "image_size": 30, "streaming": True, "num_workers": 0, "held_out_fraction": 0.2}


@pytest.fixture
def folder(tmp_path):
    """With a turned JPEG and a transparent PNG among the others, of three sizes."""
    path = tmp_path / "set"
    photographs.write_folder(path, {"train": {"ape": 8, "cat": 8}, "val": {"ape": 3, "cat": 3}})
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path / "train/ape/000.jpg") as image:
        image.save(path / "train/ape/turned.jpg", exif=exif, quality=95)
    Image.new("RGBA", (31, 47), (200, 10, 10, 100)).save(path / "val/cat/clear.png")
    return path


def load(folder, cache_dir, **options):
    return datasets.load(f"folder:{folder}", cache_dir=str(cache_dir), **OPTIONS | options)


@pytest.mark.parametrize("broken_images", ["fail", "skip"])
def test_equals_the_encoded_images(folder, tmp_path, broken_images):
    if broken_images == "skip":
        (folder / "train/cat/005.jpg").write_bytes(b"nothing")
    encoded, decoded = (
        load(folder, tmp_path / "cache", decoded_cache=flag, broken_images=broken_images) for flag in (False, True)
    )
    assert encoded.splits.keys() == decoded.splits.keys() and encoded.class_names == decoded.class_names
    for split, content in decoded.splits.items():
        np.testing.assert_array_equal(content.labels, encoded.splits[split].labels)
        for ours, theirs in zip(content.images, encoded.splits[split].images, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1)  # Pillow's decoder and the fast one
    ours, theirs = (training_batches(data.splits["train"], 5, 6) for data in (decoded, encoded))
    for batch in range(4):
        for key, values in theirs[batch].items():
            np.testing.assert_array_equal(ours[batch][key], values)


def test_is_decoded_once_and_again_when_the_files_change(folder, tmp_path, capsys):
    first = load(folder, tmp_path / "cache", decoded_cache=True).splits["test"].images[0]
    assert "decoding train images" in capsys.readouterr().err
    load(folder, tmp_path / "cache", decoded_cache=True)
    assert "decoding" not in capsys.readouterr().err
    photographs_of_test = sorted((folder / "val").rglob("*.jpg"))
    shutil.copy(photographs_of_test[1], photographs_of_test[0])
    again = load(folder, tmp_path / "cache", decoded_cache=True).splits["test"].images[0]
    assert "decoding test images" in capsys.readouterr().err and (first != again).any()


def test_workers_get_the_place_of_the_pixels_alone(folder, tmp_path):
    split = load(folder, tmp_path / "cache", decoded_cache=True).splits["train"]
    before = split.images[3]
    sent = pickle.dumps(split)
    assert len(sent) < before.nbytes, "the pixels themselves went along"
    np.testing.assert_array_equal(pickle.loads(sent).images[3], before)


def test_a_broken_image_is_named_and_nothing_is_left(folder, tmp_path):
    (folder / "train/cat/005.jpg").write_bytes((folder / "train/cat/005.jpg").read_bytes()[:-300])
    with pytest.raises(UserError, match=r"train/cat/005\.jpg"):
        load(folder, tmp_path / "cache", decoded_cache=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_decoded(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**19}))
    with pytest.raises(UserError, match=r"has 0 MiB free and 1 MiB are needed: free some space, or set"):
        load(folder, tmp_path / "cache", decoded_cache=True)
    assert "decoding" not in capsys.readouterr().err


def test_what_is_decoded_anyway_is_refused(folder):
    with pytest.raises(UserError, match=r"leave config\.dataset\.decoded_cache off"):
        datasets.load(f"folder:{folder}", decoded_cache=True)
