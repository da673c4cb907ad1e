"""The real CIFAR-100, where TFDS_DATA_DIR has it."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from effnet_jax.data import datasets
from effnet_jax.data.disk import descriptions, files, records

DATA_DIR = os.environ.get("TFDS_DATA_DIR", "")

pytestmark = pytest.mark.skipif(
    not (Path(DATA_DIR) / "cifar100").is_dir() or not DATA_DIR,
    reason="needs the real CIFAR-100: set TFDS_DATA_DIR to a folder where TFDS prepared it",
)


def test_real_cifar100(tmp_path, capsys):
    cache_dir = str(tmp_path / "cache")
    dataset = datasets.load("cifar100", data_dir=DATA_DIR, cache_dir=cache_dir)
    train, validation, test = (dataset.splits[split] for split in ("train", "validation", "test"))
    assert [len(split.labels) for split in (train, validation, test)] == [45_000, 5_000, 10_000]
    for split, per_class in ((train, 450), (validation, 50), (test, 100)):
        np.testing.assert_array_equal(np.bincount(split.labels), np.full(100, per_class))
    assert dataset.class_names[:2] == ("apple", "aquarium_fish") and dataset.class_names[-1] == "worm"
    assert "the official cifar100" not in capsys.readouterr().err

    # Integer sums are exact and need no float copy of 150 million values.
    images = np.concatenate([train.images, validation.images]).reshape(-1, 3)
    counts = np.stack([np.bincount(images[:, channel], minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255
    mean = counts @ levels / len(images)
    np.testing.assert_allclose(mean, dataset.info.mean, atol=1e-8)
    np.testing.assert_allclose(np.sqrt(counts @ levels**2 / len(images) - mean**2), dataset.info.std, atol=1e-8)

    seconds = []
    for _ in range(3):
        start = time.monotonic()
        datasets.load("cifar100", data_dir=DATA_DIR, cache_dir=cache_dir)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 1


def test_first_labels_are_those_of_the_original_file():
    prepared = descriptions.find("cifar100", Path(DATA_DIR), 100)
    with files.Progress("decoding", 50_000, "images") as progress:
        _, labels = records.decode(prepared, "train", (32, 32), progress)
    # The first fine labels of train.bin, for instance in the previews of the original pickles.
    assert labels[:10].tolist() == [19, 29, 0, 11, 1, 86, 90, 28, 23, 31]
