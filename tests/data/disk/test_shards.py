"""Food-101 and ImageNet from archives in their exact layout, made of small photographs."""

import concurrent.futures
import dataclasses
import errno
import io
import json
import tarfile
import threading

import numpy as np
import pytest

from effnet_jax.data import datasets
from effnet_jax.data.decode import images
from effnet_jax.data.disk import download, shards
from effnet_jax.data.inspect import session
from effnet_jax.data.sets import food101, imagenet2012, registry
from effnet_jax.errors import UserError
from tests.data.photographs import jpeg

CLASSES = ("apple_pie", "baby_back_ribs", "churros")
SIZES = {"train": 4, "test": 2}  # a class


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def food101_files(meta_first=False):
    """The files of the archive by name: real ones have their lists after the images."""
    found, lists, seed = {}, {"train": {}, "test": {}}, 0
    for name in CLASSES:
        for split, count in SIZES.items():
            lists[split][name] = [f"{name}/{1000 * seed + index}" for index in range(count)]
            for image in lists[split][name]:
                found[f"images/{image}.jpg"] = jpeg(seed := seed + 1)
    meta = {f"meta/{split}.json": json.dumps(listed).encode() for split, listed in lists.items()}
    meta["meta/classes.txt"] = "\n".join(CLASSES).encode()
    return meta | found if meta_first else found | meta


def small(name, monkeypatch, **changes):
    monkeypatch.setitem(registry.DATASETS, name, dataclasses.replace(registry.DATASETS[name], **changes))
    monkeypatch.setattr(shards, "RECORDS_PER_SHARD", 5)


@pytest.fixture
def food(tmp_path, monkeypatch):
    """A folder with food-101.tar.gz: 12 + 6 images of 3 classes."""
    folder = tmp_path / "manual"
    folder.mkdir()
    with tarfile.open(folder / "food-101.tar.gz", "w:gz") as tar:
        for name, content in food101_files().items():
            add(tar, f"food-101/{name}", content)
    digest = download.sha256(folder / "food-101.tar.gz")
    monkeypatch.setattr(food101, "ARCHIVE", dataclasses.replace(food101.ARCHIVE, sha256=digest))
    small("food101", monkeypatch, num_classes=3, split_sizes={"train": 12, "test": 6})
    return folder


def load(name, tmp_path, folder, **options):
    return datasets.load(name, data_dir=str(tmp_path), manual_dir=str(folder), resolution=8, num_workers=0, **options)


def contents(split):
    return {(split[index].content, split[index].label) for index in range(len(split))}


def test_the_second_of_two_that_prepare_one_set_waits_and_finds_it_done(food, tmp_path, monkeypatch):
    write, writes = shards._write_shards, []
    first_writes, goes_on = threading.Event(), threading.Event()

    def writing(*arguments):
        writes.append(arguments)
        first_writes.set()
        assert goes_on.wait(30)
        return write(*arguments)

    monkeypatch.setattr(shards, "_write_shards", writing)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(load, "food101", tmp_path, food, validation_examples=3)
        assert first_writes.wait(30)
        second = pool.submit(load, "food101", tmp_path, food, validation_examples=3)
        with pytest.raises(TimeoutError):
            second.result(timeout=1)
        goes_on.set()
        assert contents(first.result(30).splits["train"]) == contents(second.result(30).splits["train"])
    assert len(writes) == 1 and not list((tmp_path / "food101").glob("*.partial"))


def test_food101_from_its_archive(food, tmp_path):
    dataset = load("food101", tmp_path, food, validation_examples=3)
    assert dataset.class_names == CLASSES
    assert {split: len(content) for split, content in dataset.splits.items()} == {
        "train": 9,
        "validation": 3,
        "test": 6,
    }
    files, label = food101_files(), {name: index for index, name in enumerate(CLASSES)}
    expected = {
        split: {
            (files[f"images/{image}.jpg"], label[name])
            for name, listed in json.loads(files[f"meta/{split}.json"]).items()
            for image in listed
        }
        for split in SIZES
    }
    assert contents(dataset.splits["test"]) == expected["test"]
    assert contents(dataset.splits["train"]) | contents(dataset.splits["validation"]) == expected["train"]
    assert sorted(dataset.splits["validation"].labels) == [0, 1, 2]
    names = sorted(path.name for path in (tmp_path / "food101/2.1.0").glob("*record*"))
    assert names == [
        f"food101-{split}.array_record-{index:05d}-of-{count:05d}"
        for split, count in (("train", 3), ("validation", 2))
        for index in range(count)
    ]
    again = load("food101", tmp_path, tmp_path / "gone", validation_examples=3)  # nothing is made or indexed again
    np.testing.assert_array_equal(again.splits["train"].numbers, dataset.splits["train"].numbers)


def test_tfds_reads_what_is_written(food, tmp_path):
    import tensorflow_datasets as tfds

    food101.make(tmp_path, str(food))
    builder = tfds.builder_from_directory(tmp_path / "food101/2.1.0")
    assert builder.info.splits["train"].num_examples == 12
    assert builder.info.features["label"].names == list(CLASSES)
    example = builder.as_data_source(split="validation")[0]
    files = food101_files()
    expected = images.decode_image(files[f"images/{example['id'].decode()}.jpg"], "it")
    np.testing.assert_allclose(example["image"], expected, atol=2)  # another decoder, where there is cv2


def test_the_extracted_folder_is_the_same_dataset(food, tmp_path):
    for name, content in food101_files().items():
        path = tmp_path / "extracted/food-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    packed = load("food101", tmp_path / "a", food, validation_examples=3)
    extracted = load("food101", tmp_path / "b", tmp_path / "extracted", validation_examples=3)
    for split, content in packed.splits.items():
        other = extracted.splits[split]
        assert [content[index].content for index in range(len(content))] == [
            other[index].content for index in range(len(other))
        ]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write() failed: No space left on device")],
)
def test_a_full_disk_leaves_whole_shards_alone_and_the_next_start_goes_on(food, tmp_path, monkeypatch, error):
    written, record = [], shards._record

    def full(photograph, id_feature):
        if len(written) == 8:
            raise error
        written.append(photograph.id)
        return record(photograph, id_feature)

    monkeypatch.setattr(shards, "_record", full)
    with pytest.raises(UserError, match="the disk is full while writing"):
        food101.make(tmp_path, str(food))
    assert not (tmp_path / "food101/2.1.0").exists()
    left = {path.name for path in (tmp_path / "food101/2.1.0.partial").glob("*record*")}
    assert left == {"food101-train.array_record-00000-of-00003"}

    written.clear()
    monkeypatch.setattr(shards, "_record", lambda *given: written.append(given[0].id) or record(*given))
    food101.make(tmp_path, str(food))
    assert len(written) == 18 - 5
    monkeypatch.setattr(shards, "_record", record)
    whole = load("food101", tmp_path, food, validation_examples=3)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert contents(whole.splits["train"]) == contents(
        load("food101", fresh, food, validation_examples=3).splits["train"]
    )


def test_missing_images_and_damage_are_named(food, tmp_path, monkeypatch):
    with tarfile.open(food / "food-101.tar.gz", "w:gz") as tar:
        for name, content in food101_files(meta_first=True).items():
            if "churros/" not in name or name.startswith("meta"):
                add(tar, f"food-101/{name}", content)
    with pytest.raises(UserError, match="damaged or not the original"):
        food101.make(tmp_path, str(food))
    digest = download.sha256(food / "food-101.tar.gz")
    monkeypatch.setattr(food101, "ARCHIVE", dataclasses.replace(food101.ARCHIVE, sha256=digest))
    with pytest.raises(UserError, match="holds 8 images of food101's split train, not 12: get the original again"):
        food101.make(tmp_path, str(food))
    assert not (tmp_path / "food101/2.1.0").exists()


def test_food101_is_downloaded_or_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(food101, "ARCHIVE_BYTES", 0)
    with pytest.raises(UserError, match=r"food101 is not in .*the network is blocked.*put the original food-101\.tar"):
        food101.make(tmp_path, "")


WNIDS = ("n01440764", "n01443537")


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A folder with both archives: 2 + 3 training images, 4 others, of labels 0, 1, 0 and 1."""
    folder = tmp_path / "manual"
    folder.mkdir()
    with tarfile.open(folder / imagenet2012.TRAIN, "w") as tar:
        for label, wnid in enumerate(WNIDS):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as class_tar:
                for index in range(2 + label):
                    add(class_tar, f"{wnid}_{index}.JPEG", jpeg(10 * label + index))
            add(tar, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(folder / imagenet2012.VALIDATION, "w") as tar:
        for number in (3, 1, 2, 4):  # in an order of its own
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", jpeg(100 + number))
    lists = {imagenet2012._CLASSES: WNIDS, imagenet2012._VALIDATION_CLASSES: WNIDS * 2}
    monkeypatch.setattr(imagenet2012, "_lines", lists.__getitem__)
    small("imagenet2012", monkeypatch, num_classes=2, split_sizes={"train": 5, "test": 4})
    return folder


def test_imagenet_from_its_archives(imagenet, tmp_path):
    dataset = load("imagenet2012", tmp_path, imagenet, validation_examples=2)
    assert dataset.class_names == WNIDS
    test = dataset.splits["test"]
    assert [test[index].content for index in range(4)] == [jpeg(101), jpeg(102), jpeg(103), jpeg(104)]
    assert test.labels.tolist() == [0, 1, 0, 1]
    train = contents(dataset.splits["train"]) | contents(dataset.splits["validation"])
    assert train == {(jpeg(0), 0), (jpeg(1), 0), (jpeg(10), 1), (jpeg(11), 1), (jpeg(12), 1)}
    assert dataset.info.mean == registry.IMAGENET_MEAN


def test_the_lists_of_tfds_are_whole():
    classes, validation = (
        imagenet2012._lines(name) for name in (imagenet2012._CLASSES, imagenet2012._VALIDATION_CLASSES)
    )
    assert len(set(classes)) == 1000 and len(validation) == 50_000 and list(classes) == sorted(classes)
    _, counts = np.unique(validation, return_counts=True)
    assert (counts == 50).all() and set(validation) == set(classes)


@pytest.mark.parametrize("given", [False, True])
def test_missing_archives_are_explained(tmp_path, given):
    (tmp_path / imagenet2012.VALIDATION).touch()
    with pytest.raises(UserError) as error:
        imagenet2012.make(tmp_path / "tfds", str(tmp_path) if given else "")
    for words in ("image-net.org/download-images", imagenet2012.TRAIN, "--manual_dir"):
        assert words in str(error.value)
    assert (f"{tmp_path} lacks {imagenet2012.TRAIN}):" in str(error.value)) == given


def test_verify_finds_nothing_wrong_but_what_is(food, tmp_path):
    source = session.prepare("food101", str(tmp_path), str(food))
    table, is_right = session.look_at(source, tmp_path / "out")
    assert is_right, table
    (tmp_path / "out/samples.png").stat()
    damaged = next((tmp_path / "food101/2.1.0").glob("*validation*00001-of*"))
    damaged.write_bytes(damaged.read_bytes()[:-200])
    table, is_right = session.look_at(source, tmp_path / "out")
    assert not is_right and "unreadable" in table


def test_array_records_that_are_called_tfrecords_are_refused(food, tmp_path):
    food101.make(tmp_path, str(food))
    info = tmp_path / "food101/2.1.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for path in info.parent.glob("*.array_record-*"):
        path.rename(path.with_name(path.name.replace("array_record", "tfrecord")))
    with pytest.raises(UserError, match=r"is damaged \(the checksum of a record's length does not match\): delete"):
        load("food101", tmp_path, food, validation_examples=3)
