"""Reading what TFDS prepared: the same images in both formats, and every damage named."""

import json

import numpy as np
import pytest

from effnet_jax.data.disk import descriptions, files, records
from effnet_jax.errors import UserError
from tests.data.tfds_builders import write_tfrecord


def decode(prepared: descriptions.Prepared, split: str = "train", image_size=(32, 32)):
    with files.Progress("decoding", 300, "images") as progress:
        return records.decode(prepared, split, image_size, progress)


@pytest.fixture
def folder(prepared_dir):
    return prepared_dir / "cifar100" / "3.0.2"


def edit_json(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def shard(folder, split="train"):
    (path,) = folder.glob(f"cifar100-{split}.*")
    return path


def test_order_is_that_of_the_original_file(prepared_dir, original):
    images, labels = decode(descriptions.find("cifar100", prepared_dir, 100))
    expected_images, expected_labels = original["train"]
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(labels, expected_labels)


def test_nothing_prepared(tmp_path):
    assert descriptions.find("cifar100", tmp_path, 100) is None
    assert descriptions.find("cifar100", tmp_path / "missing", 100) is None


def test_half_made_folders_are_ignored_and_the_newest_version_wins(prepared_dir, folder):
    half_made = folder.with_name("incomplete.ABCDEF_3.0.2")
    folder.rename(half_made)
    assert descriptions.find("cifar100", prepared_dir, 100) is None
    half_made.rename(folder.with_name("3.0.10"))
    (folder.with_name("3.0.9")).mkdir()
    (folder.with_name("3.0.9") / "dataset_info.json").write_text("{}")
    assert descriptions.find("cifar100", prepared_dir, 100).folder.name == "3.0.10"


def test_tfrecord_gives_the_same(prepared_dir, folder):
    before = descriptions.find("cifar100", prepared_dir, 100)
    expected = decode(before)
    for split in ("train", "test"):
        source = shard(folder, split)
        target = source.with_name(source.name.replace("array_record", "tfrecord"))
        write_tfrecord(None, target, records._read_shard(source, "array_record"))
        source.unlink()
    edit_json(folder / "dataset_info.json", lambda content: content.pop("fileFormat"))  # as TFDS < 4.2
    prepared = descriptions.find("cifar100", prepared_dir, 100)
    assert prepared.record_format == "tfrecord"
    for one, other in zip(decode(prepared), expected):
        np.testing.assert_array_equal(one, other)
    shard(folder).write_bytes(shard(folder).read_bytes()[:-5])
    with pytest.raises(UserError, match=r"cifar100-train.tfrecord.* is damaged \(the last record is cut off\)"):
        decode(prepared)


def test_damaged_bytes_never_pass(prepared_dir, folder):
    prepared = descriptions.find("cifar100", prepared_dir, 100)
    expected, _ = decode(prepared)
    path = shard(folder)
    content = bytearray(path.read_bytes())
    named = 0
    for position in range(0, len(content), len(content) // 20):
        content[position] ^= 0x10
        path.write_bytes(content)
        try:
            images, _ = decode(prepared)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            named += 1
        else:  # unused bytes
            np.testing.assert_array_equal(images, expected)
        content[position] ^= 0x10
    assert named >= 10


@pytest.mark.parametrize("stated", ["299", "301"])
def test_counts_that_disagree(prepared_dir, folder, stated):
    edit_json(folder / "dataset_info.json", lambda content: content["splits"][0].update(shardLengths=[stated]))
    with pytest.raises(UserError, match=rf"cifar100-train.* is damaged \(300 records where .* says {stated}\)"):
        decode(descriptions.find("cifar100", prepared_dir, 100))


def test_missing_shard(prepared_dir, folder):
    prepared = descriptions.find("cifar100", prepared_dir, 100)
    path = shard(folder, "test")
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing: delete {folder}"):
        descriptions.fingerprint(prepared, 1)


def test_wrong_image_size(prepared_dir):
    with pytest.raises(
        UserError, match=r"cifar100-train.* is damaged \(an image of shape \(32, 32, 3\), not \(16, 64, 3\)"
    ):
        decode(descriptions.find("cifar100", prepared_dir, 100), image_size=(16, 64))


def test_wrong_classes(prepared_dir):
    with pytest.raises(UserError, match="has 100 classes where cifar100 has 10:"):
        descriptions.find("cifar100", prepared_dir, 10)


def test_label_outside_the_classes(prepared_dir, folder):
    edit_json(
        folder / "features.json",
        lambda content: content["featuresDict"]["features"]["label"]["classLabel"].update(numClasses="50"),
    )
    (folder / "label.labels.txt").unlink()
    prepared = descriptions.find("cifar100", prepared_dir, 50)
    assert prepared.class_names[:2] == ("0", "1")
    with pytest.raises(UserError, match=r"cifar100-train.* is damaged \(label \d+\)"):
        decode(prepared)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"splits": [{"name": "train"}]}'])
def test_unreadable_description(prepared_dir, folder, content):
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(UserError, match=f"{folder} holds no readable TFDS dataset"):
        descriptions.find("cifar100", prepared_dir, 100)


def test_other_descriptions_that_do_not_fit(prepared_dir, folder):
    original = (folder / "dataset_info.json").read_text()
    edit_json(folder / "dataset_info.json", lambda content: content.update(fileFormat="riegeli"))
    with pytest.raises(UserError, match="TFDS's format 'riegeli'"):
        descriptions.find("cifar100", prepared_dir, 100)
    (folder / "dataset_info.json").write_text(original)
    edit_json(folder / "dataset_info.json", lambda content: content["splits"].pop())
    with pytest.raises(UserError, match="lacks the split train or test"):
        descriptions.find("cifar100", prepared_dir, 100)
    (folder / "dataset_info.json").write_text(original)
    (folder / "label.labels.txt").write_text("apple\n")
    with pytest.raises(UserError, match="names 1 classes of 100"):
        descriptions.find("cifar100", prepared_dir, 100)


def test_fingerprint_follows_the_size(prepared_dir, folder, monkeypatch):
    monkeypatch.setattr(descriptions, "_SAMPLE_BYTES", 16)
    prepared = descriptions.find("cifar100", prepared_dir, 100)
    before = descriptions.fingerprint(prepared, 1)
    content = shard(folder).read_bytes()
    shard(folder).write_bytes(content[:1000] + b"more" + content[1000:])
    assert descriptions.fingerprint(prepared, 1) != before


def test_fingerprint_follows_the_content(prepared_dir, folder):
    def fingerprint(salt=1):
        return descriptions.fingerprint(descriptions.find("cifar100", prepared_dir, 100), salt)

    seen = {fingerprint(), fingerprint(salt=2)}
    path = shard(folder)
    content = path.read_bytes()
    for changed in (content[:-1] + b"\xff", b"\xff" + content[1:], content + b"\0"):
        path.write_bytes(changed)
        seen.add(fingerprint())
    path.write_bytes(content)
    (folder / "label.labels.txt").write_text("\n".join(f"new_{index}" for index in range(100)))
    seen.add(fingerprint())
    assert len(seen) == 6
