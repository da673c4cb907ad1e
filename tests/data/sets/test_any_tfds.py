"""Any dataset of TFDS by its name: made by TFDS's own builder, in both formats, and opened without TensorFlow."""

import importlib.util
import pickle
import subprocess

import numpy as np
import pytest
import tensorflow_datasets as tfds

from effnet_jax.data import datasets
from effnet_jax.data.decode import images
from effnet_jax.data.inspect import entries
from effnet_jax.data.inspect.verify import verify
from effnet_jax.data.sets import any_tfds
from effnet_jax.errors import UserError
from tests.data import tfds_builders

FORMATS = ("array_record", "tfrecord")
THREE = {"train": 30, "validation": 6, "test": 9}


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


def load(data_dir, name="tfds:tiny_flowers", **options):
    return datasets.load(name, data_dir=str(data_dir), **{"resolution": 8, "num_workers": 0, **options})


def sizes(dataset):
    return {split: len(content.labels) for split, content in dataset.splits.items()}


def originals(split: str, count: int, shape) -> list[bytes]:
    """The images that the builder was given, as sortable bytes, label first; grey ones in three channels."""
    found = [tfds_builders.pixels(split, index, shape) for index in range(count)]
    return sorted(bytes([i % 3]) + np.broadcast_to(p, (*p.shape[:2], 3)).tobytes() for i, p in enumerate(found))


def rows(split) -> list[bytes]:
    return sorted(bytes([label]) + np.asarray(split.images[i]).tobytes() for i, label in enumerate(split.labels))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, None])
def test_its_own_splits_and_class_names_in_every_form(data_dir, file_format, channels, side):
    shape = (side, side, channels)
    tfds_builders.make(data_dir, THREE, shape=shape, file_format=file_format)
    assert datasets.num_classes("tfds:tiny_flowers", str(data_dir)) == 3
    assert datasets.streams("tfds:tiny_flowers", None, str(data_dir)) == (side is None)
    dataset = load(data_dir)
    assert dataset.class_names == tfds_builders.CLASS_NAMES and sizes(dataset) == THREE
    assert dataset.info.split_sizes == {"train": 30, "test": 9}
    assert dataset.info.image_size == (None if side is None else (8, 8))
    for split, count in THREE.items():
        assert rows(dataset.split(split)) == originals(split, count, shape)
    again = load(data_dir)
    for split in THREE:
        np.testing.assert_array_equal(again.split(split).labels, dataset.split(split).labels)


def test_statistics_are_its_own_or_those_of_imagenet(data_dir):
    tfds_builders.make(data_dir, THREE)
    dataset = load(data_dir)
    pixels = dataset.split("train").images / 255
    np.testing.assert_allclose(dataset.info.mean, pixels.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(dataset.info.std, pixels.std((0, 1, 2)), rtol=1e-9)
    streamed = load(data_dir, streaming=True)
    assert streamed.info.mean == (0.485, 0.456, 0.406) and rows(streamed.split("test")) == rows(dataset.split("test"))


def test_stored_at_another_size(data_dir):
    tfds_builders.make(data_dir, THREE)
    assert {content.images.shape[1:] for content in load(data_dir, image_size=5).splits.values()} == {(5, 5, 3)}


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_missing_is_held_out(data_dir, streaming):
    tfds_builders.make(data_dir, {"train": 30}, name="only_train")
    tfds_builders.make(data_dir, {"train": 30, "validation": 9}, name="two_splits")
    one, two = "tfds:only_train", "tfds:two_splits"
    options = {"held_out_fraction": 0.2, "streaming": streaming}
    dataset = load(data_dir, one, **options)
    assert sizes(dataset) == {"train": 18, "validation": 6, "test": 6}
    assert np.bincount(dataset.split("validation").labels).tolist() == [2, 2, 2]
    everything = [row for split in dataset.splits.values() for row in rows(split)]
    assert sorted(everything) == originals("train", 30, (8, 8, 3))
    assert sizes(load(data_dir, two, **options)) == {"train": 24, "validation": 6, "test": 9}
    assert sizes(load(data_dir, two, validation_examples=0, **options)) == {"train": 30, "test": 9}
    assert rows(load(data_dir, two, **options).split("test")) == originals("validation", 9, (8, 8, 3))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_test_split_without_labels_is_left_out(data_dir, file_format):
    tfds_builders.make(data_dir, THREE, labels={"test": -1}, file_format=file_format)
    dataset = load(data_dir)
    assert rows(dataset.split("test")) == originals("validation", 6, (8, 8, 3))
    assert sizes(dataset) == {"train": 27, "validation": 3, "test": 6}


def test_configs_and_versions(data_dir):
    for config, version, count in (("small", "1.0.0", 6), ("small", "1.10.0", 9), ("small", "1.9.0", 12)):
        tfds_builders.make(data_dir, {"train": 30, "test": count}, config=config, version=version)
    test_size = lambda name: sizes(load(data_dir, name))["test"]  # noqa: E731
    assert test_size("tfds:tiny_flowers") == test_size("tfds:tiny_flowers/small") == 9
    assert test_size("tfds:tiny_flowers/small:1.9.0") == 12
    tfds_builders.make(data_dir, {"train": 30, "test": 3}, config="large")
    assert test_size("tfds:tiny_flowers/large") == 3
    with pytest.raises(UserError, match="holds large, small: choose one as tfds:tiny_flowers/large"):
        load(data_dir)
    for name in ("tfds:", "tfds:a/b/c", "tfds:tiny_flowers:1", "tfds:../x"):
        with pytest.raises(UserError, match="is no name of TFDS: write tfds:NAME"):
            load(data_dir, name)


def test_features_of_other_names_and_kinds(data_dir):
    text = (tfds.features.Text(), "a sentence")
    tfds_builders.make(data_dir, THREE, keys=("photo", "species"), more={"caption": text})
    tfds_builders.make(data_dir, THREE, name="untold", keys=("photo", "species"), supervised=False)
    for name in ("tfds:tiny_flowers", "tfds:untold"):
        assert load(data_dir, name).class_names == tfds_builders.CLASS_NAMES
        assert rows(load(data_dir, name, streaming=True).split("test")) == originals("test", 9, (8, 8, 3))
    colour = (tfds.features.ClassLabel(num_classes=2), 1)
    tfds_builders.make(data_dir, THREE, name="two_labels", supervised=False, more={"colour": colour})
    with pytest.raises(UserError, match=r"is no dataset of one image and one class .*\(it has colour, image, label\)"):
        load(data_dir, "tfds:two_labels")
    tfds_builders.make(data_dir, {"test": 6}, name="no_train")
    with pytest.raises(UserError, match="has no split train but test"):
        load(data_dir, "tfds:no_train")


def test_large_or_unequal_ones_stream(data_dir, monkeypatch):
    tfds_builders.make(data_dir, THREE)
    monkeypatch.setattr(any_tfds, "RESIDENT_BYTES", 45 * 8 * 8 * 3)
    assert not datasets.streams("tfds:tiny_flowers", None, str(data_dir))
    monkeypatch.setattr(any_tfds, "RESIDENT_BYTES", 45 * 8 * 8 * 3 - 1)
    assert datasets.streams("tfds:tiny_flowers", None, str(data_dir))
    tfds_builders.make(data_dir, THREE, name="oblong", shape=(8, 12, 3))
    assert datasets.streams("tfds:oblong", None, str(data_dir))
    with pytest.raises(UserError, match=r"are not squares of one size: leave config.dataset.streaming unset"):
        datasets.streams("tfds:oblong", False, str(data_dir))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("side", [8, None])
def test_splits_of_several_files(data_dir, file_format, side):
    folder = tfds_builders.make(data_dir, THREE, shape=(side, side, 3), file_format=file_format, num_shards=3)
    assert len(list(folder.glob("*-train.*-of-00003"))) == 3
    assert rows(load(data_dir).split("train")) == originals("train", 30, (side, side, 3))


def test_records_of_tfrecord_files_reach_workers_and_damage_is_named(data_dir):
    folder = tfds_builders.make(data_dir, THREE, shape=(None, None, 3), file_format="tfrecord")
    split = load(data_dir).split("test")
    copy = pickle.loads(pickle.dumps(split))
    assert [copy[i].content for i in range(9)] == [split[i].content for i in range(9)]
    (shard,) = folder.glob("*-test.tfrecord*")
    content = bytearray(shard.read_bytes())
    content[int(split.numbers.max()) + 1] ^= 1  # the length of its last record
    shard.write_bytes(content)
    last = int(split.numbers.argmax())
    with pytest.raises(images.UnreadableImageError, match=r"tiny_flowers-test: cannot be read \(the checksum of a rec"):
        split[last]
    with pytest.raises(UserError, match=r"tiny_flowers-test.tfrecord.* is damaged \(the checksum of a record's length"):
        load(data_dir).split("test")


def test_decoded_once(data_dir):
    tfds_builders.make(data_dir, THREE, shape=(None, None, 1), file_format="tfrecord")
    dataset = load(data_dir, decoded_cache=True)
    assert rows(dataset.split("test")) == originals("test", 9, (None, None, 1))


def test_it_can_be_verified(data_dir):
    tfds_builders.make(data_dir, THREE, shape=(None, None, 1))
    source = entries.find("tfds:tiny_flowers", str(data_dir))
    findings = verify(source, samples_per_class=1)
    assert source.sizes == THREE and findings.problems() == []
    assert findings.splits["test"].counts == dict.fromkeys(tfds_builders.CLASS_NAMES, 3)


def test_what_is_not_there_is_prepared_by_tfds_or_the_line_says_how(data_dir, monkeypatch):
    data_dir.mkdir()
    with pytest.raises(UserError, match=r"no dataset 'oxford_flower' \(did you mean 'oxford_flowers102'\?\)"):
        load(data_dir, "tfds:oxford_flower")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("no process is to look at the network"))
    line = (
        r"needs TensorFlow to prepare it.*tfds.builder\('oxford_flowers102:2.1.1', data_dir='.*/tfds', file_format='arr"
    )
    with pytest.raises(UserError, match=line):
        load(data_dir, "tfds:oxford_flowers102:2.1.1")
    with pytest.raises(UserError, match="does not exist: correct it"):
        load(data_dir / "absent", "tfds:oxford_flowers102")

    asked = []

    def run(command, **_):
        asked.append(command[3:])
        if len(asked) > 1:
            tfds_builders.make(data_dir, THREE, name="oxford_flowers102")
        return subprocess.CompletedProcess(command, returncode=len(asked) == 1)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match="TFDS could not prepare oxford_flowers102"):
        load(data_dir, "tfds:oxford_flowers102")
    assert sizes(load(data_dir, "tfds:oxford_flowers102", manual_dir="/mine")) == THREE
    assert asked == [["oxford_flowers102", str(data_dir), manual_dir] for manual_dir in ("", "/mine")]
