"""Every flaw put into a dataset is found, and nothing else."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data.inspect import entries, session, verify_report
from effnet_jax.data.inspect.verify import verify
from effnet_jax.errors import UserError


def write(path, seed: int, size=(8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def path(tmp_path):
    """Two classes, 4 training and 2 test images each, all different."""
    seeds = iter(range(100))
    for split, count in (("train", 4), ("test", 2)):
        for name in ("ape", "cat"):
            for index in range(count):
                write(tmp_path / "set" / split / name / f"{index}.png", next(seeds))
    return tmp_path / "set"


def look(path):
    return verify(entries.find(f"folder:{path}"), samples_per_class=2)


def test_a_sound_dataset_has_no_problem(path):
    findings = look(path)
    assert findings.problems() == []
    assert "nothing is wrong" in verify_report.as_table(findings)
    pixels = np.stack([np.asarray(Image.open(file)) for file in (path / "train").rglob("*.png")]) / 255
    np.testing.assert_allclose(findings.splits["train"].mean, pixels.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(findings.splits["train"].std, pixels.std((0, 1, 2)), rtol=1e-9)
    assert {name: len(images) for name, images in findings.splits["train"].samples.items()} == {"ape": 2, "cat": 2}


def test_duplicates_are_told_apart_by_where_they_are_and_by_label(path):
    shutil.copy(path / "train/ape/0.png", path / "train/ape/again.png")
    Image.open(path / "train/ape/0.png").save(path / "train/ape/again.bmp")  # another file, the same pixels
    shutil.copy(path / "train/cat/1.png", path / "test/cat/leak.png")
    shutil.copy(path / "test/cat/0.png", path / "test/ape/mislabelled.png")
    findings = look(path)
    assert findings.problems() == [
        "train: 2 repeats of images of the same split",
        "test: 1 repeats of images of the same split",
        "train and test: 1 images in both",
        "1 images occur with different labels",
    ]
    found = verify_report.as_json(findings)
    (group,) = found["splits"]["train"]["repeated_images"]
    assert sorted(group) == ["train/ape/0.png", "train/ape/again.bmp", "train/ape/again.png"]
    (shared,) = found["in_several_splits"]
    assert shared["images"] == [{"train": ["train/cat/1.png"], "test": ["test/cat/leak.png"]}]
    (contradiction,) = found["different_labels"]
    assert sorted(contradiction) == ["test/test/ape/mislabelled.png", "test/test/cat/0.png"]


def test_equal_bytes_of_another_shape_are_another_image(path):
    for name, shape in (("wide", (4, 16)), ("high", (16, 4))):
        Image.fromarray(np.full((*shape, 3), 7, np.uint8)).save(path / f"train/ape/{name}.png")
    assert look(path).problems() == []


def test_unreadable_images_and_unequal_classes(path):
    (path / "train/ape/0.png").write_bytes(b"GIF")
    for index in range(40):
        write(path / f"train/cat/more{index}.png", 1000 + index)
    assert look(path).problems() == ["train: 1 unreadable", "train: classes of 3 to 44 images"]
    for index in range(4):
        (path / f"train/ape/{index}.png").write_bytes(b"GIF")
    assert "train: 1 classes without an image, 'ape' for one" in look(path).problems()


def test_a_dataset_of_tfds_against_what_is_known_of_it(prepared_dir, original):
    findings = verify(entries.find("cifar100", str(prepared_dir)), samples_per_class=1)
    assert findings.problems() == ["train: 300 images, officially 50,000", "test: 100 images, officially 10,000"]
    np.testing.assert_allclose(findings.splits["train"].mean, original["train"][0].mean((0, 1, 2)) / 255, rtol=1e-9)
    (shard,) = (prepared_dir / "cifar100").rglob("*test*record*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    findings = verify(entries.find("cifar100", str(prepared_dir)), samples_per_class=1)
    (reason,) = findings.splits["test"].unreadable
    assert "is damaged" in reason and findings.splits["train"].images == 300


def test_digits_have_the_recorded_statistics_but_a_wrong_size_is_found(monkeypatch):
    source = entries.find("digits")
    findings = verify(source, 1)
    assert findings.splits["train"].wrong_size == [] and not [p for p in findings.problems() if "mean" in p]
    monkeypatch.setitem(
        source._content, "train", (source._content["train"][0][:, 1:] // 2, source._content["train"][1])
    )
    problems = verify(source, 1).problems()
    assert "train: 1438 of a wrong size" in problems and any("mean" in problem for problem in problems)


def test_what_is_written(path, tmp_path):
    source = session.prepare(f"folder:{path}", "", "")
    assert session.describe(source) == f"folder:{path}: 2 classes, train 8, test 4 images"
    table, is_right = session.look_at(source, tmp_path / "out")
    assert is_right and table.splitlines()[0] == f"folder:{path}: 2 classes"
    assert json.loads((tmp_path / "out/verify.json").read_text())["splits"]["train"]["images"] == 8
    sheet = np.asarray(Image.open(tmp_path / "out/samples.png").convert("RGB"))
    assert (sheet < 128).any() and sheet.shape[0] > 50
    assert session.default_output(source).startswith("runs/data/folder_")


@pytest.mark.slow
def test_the_sheet_of_augmentations(path, tmp_path):
    source = session.prepare(f"folder:{path}", "", "")
    sheet = np.asarray(Image.open(session.show_augmented(source, tmp_path)).convert("RGB"))
    tiles = (sheet != 255).any(-1)
    assert tiles.mean() > 0.3


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"unknown dataset 'cifar_10' .*folder:PATH for a folder of images"):
        session.prepare("cifar_10", "", "")
