"""A folder of images: found, named, decoded as prediction would, and every mistake in one line."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data import datasets
from effnet_jax.data.decode.images import read_image
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.disk import cache
from effnet_jax.errors import UserError


def write_images(folder, count: int, size=(12, 9), seed: int = 0, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}{suffix}")


@pytest.fixture
def path(tmp_path):
    """Two classes, 10 and 5 training images, 3 and 3 others in "val"."""
    for seed, (split, name, count) in enumerate(
        [("train", "cat", 10), ("train", "ape", 5), ("val", "cat", 3), ("val", "ape", 3)]
    ):
        write_images(tmp_path / "set" / split / name, count, seed=seed)
    return tmp_path / "set"


def load(path, **options):
    return datasets.load(f"folder:{path}", **{"resolution": 8, "held_out_fraction": 0.2, **options})


def sizes(dataset):
    return {split: len(content.labels) for split, content in dataset.splits.items()}


def as_bytes(split):
    return sorted(bytes([label]) + image.tobytes() for image, label in zip(split.images, split.labels))


def test_images_are_those_that_prediction_sees(path):
    dataset = load(path)
    assert dataset.class_names == ("ape", "cat")
    assert sizes(dataset) == {"train": 12, "validation": 3, "test": 6}
    rule = Preprocess(8, (0, 0, 0), (1, 1, 1))
    expected = [
        bytes([label]) + np.rint(rule.on_host(read_image(file))).astype(np.uint8).tobytes()
        for label, name in enumerate(dataset.class_names)
        for file in (path / "val" / name).iterdir()
    ]
    assert as_bytes(dataset.splits["test"]) == sorted(expected)
    assert np.bincount(dataset.splits["validation"].labels).tolist() == [1, 2]
    assert dataset.info.split_sizes == {"train": 15, "test": 6}


def test_statistics_are_those_of_all_training_images(path):
    dataset = load(path)
    images = np.concatenate([dataset.splits[split].images for split in ("train", "validation")]) / 255
    np.testing.assert_allclose(dataset.info.mean, images.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(dataset.info.std, images.std((0, 1, 2)), rtol=1e-9)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_second_split_of_any_name_is_the_test_split(path, name):
    expected = load(path)
    (path / "val").rename(path / name)
    assert as_bytes(load(path).splits["test"]) == as_bytes(expected.splits["test"])


def test_three_splits_are_taken_as_they_are(path):
    for name in ("cat", "ape"):
        write_images(path / "test" / name, 4, seed=9)
    assert sizes(load(path)) == {"train": 15, "validation": 6, "test": 8}
    shutil.copytree(path / "val", path / "valid")
    with pytest.raises(UserError, match="val and valid, which mean the same split"):
        load(path)


def test_one_level_of_class_folders_is_split_stratified(path):
    dataset = load(path / "train")
    assert sizes(dataset) == {"train": 9, "validation": 3, "test": 3}
    for split in ("validation", "test"):
        assert np.bincount(dataset.splits[split].labels).tolist() == [1, 2]
    everything = [row for split in dataset.splits.values() for row in as_bytes(split)]
    assert len(set(everything)) == 15


def test_of_no_validation_examples_nothing_is_held_out_to_select_by(path):
    for streaming in (False, True):
        assert sizes(load(path, validation_examples=0, streaming=streaming)) == {"train": 15, "test": 6}
        assert sizes(load(path / "train", validation_examples=0, streaming=streaming)) == {"train": 12, "test": 3}


def test_a_later_start_reads_the_cache_and_a_changed_file_makes_a_new_one(path, capsys):
    first = load(path)
    assert "decoding" in capsys.readouterr().err
    assert as_bytes(load(path).splits["train"]) == as_bytes(first.splits["train"])
    assert capsys.readouterr().err == ""
    load(path, held_out_fraction=0.4)
    assert len(cache.folders(cache.root(""), "folder")) == 1
    os.utime(path / "train" / "cat" / "00.png", (1, 1))
    load(path)
    load(path, image_size=6)
    assert len(cache.folders(cache.root(""), "folder")) == 3


def test_broken_images_are_named_and_fail_or_are_left_out(path, capsys):
    (path / "train/cat/03.png").write_bytes(b"")
    (path / "val/ape/01.png").write_text("no image")
    for named in ("2 of 21 images", "cat/03.png: an empty file", "ape/01.png: not an image", "broken_images=skip"):
        with pytest.raises(UserError, match=named):
            load(path)
    assert cache.folders(cache.root(""), "folder") == []
    assert sizes(load(path, broken_images="skip")) == {"train": 11, "validation": 3, "test": 5}
    assert "2 of 21 images cannot be used and are left out" in capsys.readouterr().err


def test_other_files_are_counted_by_kind_and_hidden_ones_do_not_matter(path, capsys):
    expected = load(path)
    assert "left out" not in capsys.readouterr().err
    ape = path / "train/ape"
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (ape / name).write_text("no image")
    (path / "train/loose.png").write_bytes((ape / "00.png").read_bytes())
    hidden = ("train/ape/._00.png", "train/.DS_Store", "train/ape/.checkpoints/00.png", "__MACOSX/train/ape/._00.png",
              "train/__MACOSX/00.png", "val/cat/__MACOSX/00.png")  # fmt: skip
    for name in hidden:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("no image")
    (ape / "away.txt").symlink_to(path / "nowhere")
    (ape / "folder").symlink_to(path / "val/ape")
    for streaming in (False, True):
        found = load(path, streaming=streaming)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
        assert line == (
            f"effnet_jax: left out of {path}: 2 .heic, 1 .txt, 1 broken link(s) (train/ape/away.txt), "
            "1 image(s) in no class folder, 1 link(s) to folders (train/ape/folder), 1 without an extension"
        )
        assert sizes(found) == sizes(expected)


def test_a_class_of_a_kind_that_pillow_does_not_open(path):
    for file in (path / "train/ape").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"no image in .*train/ape, which holds only 5 .heic: convert them to JPEG"):
        load(path)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_rare_classes_may_lack_images_to_be_judged_by(path, capsys, streaming, empty):
    shutil.rmtree(path / "val/ape")
    if empty:
        (path / "val/ape").mkdir()
    found = load(path, streaming=streaming)
    assert found.class_names == ("ape", "cat") and sizes(found)["test"] == 3
    assert np.unique(found.splits["test"].labels).tolist() == [1]
    said = f"the test images of {path} are of 1 of its 2 classes; there are none of ape"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("streaming", [False, True])
def test_an_empty_class_folder_of_the_training_images_is_named_and_may_be_passed_over(path, capsys, streaming):
    expected = load(path, streaming=streaming)
    (path / "train/bee").mkdir()
    (path / "val/bee").mkdir()
    for refuse in (load, lambda path: datasets.num_classes(f"folder:{path}")):
        with pytest.raises(UserError, match=r"train has 1 class folders without an image \(bee\).*broken_images=skip"):
            refuse(path)
    capsys.readouterr()
    found = load(path, streaming=streaming, broken_images="skip")
    assert found.class_names == ("ape", "cat") and sizes(found) == sizes(expected)
    assert datasets.num_classes(f"folder:{path}", broken_images="skip") == 2
    assert "no class, since their folders are empty: bee" in capsys.readouterr().err
    (path / "train/bee/notes.txt").write_text("to be filled")
    with pytest.raises(UserError, match=r"no image in .*train/bee, which holds only 1 .txt"):
        load(path, broken_images="skip")


def test_broken_links_are_broken_images(path, capsys):
    (path / "train/cat/03.png").unlink()
    (path / "train/cat/03.png").symlink_to("moved.png")
    with pytest.raises(UserError, match=r"1 of 21 images .*cat/03.png: a broken link to moved.png"):
        load(path)
    for streaming in (False, True):
        assert sizes(load(path, broken_images="skip", streaming=streaming))["train"] == 11
        assert "cat/03.png: a broken link to moved.png" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".jp2", ".ppm"])
def test_rarer_kinds_are_images(path, suffix):
    Image.registered_extensions()
    if Image.EXTENSION.get(suffix) not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {suffix}")
    Image.open(path / "train/ape/00.png").save(path / f"train/ape/more{suffix}")
    assert datasets.load(f"folder:{path}", resolution=8).info.split_sizes == {"train": 16, "test": 6}


def test_mistakes_are_told_in_one_line(path, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*/absent"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no class folder"):
        load(tmp_path / "empty")
    shutil.copytree(path / "val/cat", path / "val/dog")
    with pytest.raises(UserError, match=r"train has no images of 1 of the classes of .*val \(dog\)"):
        load(path)
    shutil.rmtree(path / "val")
    (path / "val/cat").mkdir(parents=True)
    with pytest.raises(UserError, match="val has no image of any class"):
        load(path)
    shutil.rmtree(path / "val")
    shutil.rmtree(path / "train/cat")
    with pytest.raises(UserError, match="only the class 'ape': images lie in one folder a class"):
        load(path)


def test_too_much_is_held_out_and_too_large_is_refused(path):
    with pytest.raises(UserError, match=r"15 of the 15 training images .* lower --config.dataset.held_out_fraction"):
        load(path / "train", held_out_fraction=0.6)
    with pytest.raises(UserError, match=r"GiB at 1000000 px.*dataset.image_size"):
        load(path, image_size=1_000_000)


def test_the_number_of_classes_needs_no_decoding(path):
    (path / "train/cat/03.png").write_bytes(b"")
    assert datasets.num_classes(f"folder:{path}") == 2
    assert datasets.num_classes("cifar100") == 100
