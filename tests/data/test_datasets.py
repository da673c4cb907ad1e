"""`load`: the right images, split the same way every time, from whatever is there."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from effnet_jax.data import datasets
from effnet_jax.data.decode import images
from effnet_jax.data.disk import cache
from effnet_jax.data.sets import cifar_archives, registry, splits
from effnet_jax.errors import UserError

REPOSITORY = Path(__file__).parents[2]


def rows(split: splits.Split) -> list[bytes]:
    """The examples of a split as sortable bytes, label first."""
    return [bytes([label]) + image.tobytes() for image, label in zip(split.images, split.labels)]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match=r"unknown dataset 'cifar_100' \(did you mean 'cifar100'\?\)"):
        datasets.load("cifar_100")


@hypothesis.given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.data())
def test_every_prefix_of_the_order_is_stratified(labels, data):
    labels = np.array(labels)
    order = splits.stratified_order(labels)
    assert sorted(order) == list(range(len(labels)))
    size = data.draw(st.integers(0, len(labels)))
    share = np.bincount(labels, minlength=6) / len(labels)
    # Each class is within 1/2 of its share of some size, which all classes' rounding moves away from `size`.
    bound = 1 / 2 + share * np.count_nonzero(share) / 2
    assert np.all(np.abs(np.bincount(labels[order[:size]], minlength=6) - share * size) <= bound + 1e-9)


def test_all_training_images_without_validation(prepared_dir, original):
    dataset = datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=0)
    assert dataset.splits.keys() == {"train", "test"}
    assert sorted(rows(dataset.split("train"))) == sorted(rows(splits.Split(*original["train"])))
    with pytest.raises(UserError, match=r"of cifar100 no validation images were held out .* choose train or test"):
        dataset.split("validation")


def test_equal_classes_are_held_out_equally():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 11))
    order = splits.stratified_order(labels)
    for count in range(11):
        np.testing.assert_array_equal(np.bincount(labels[order[: 7 * count]], minlength=7), count)


def test_the_order_never_changes():
    """Published accuracies depend on it: a change needs a new cache.FORMAT and a line in CHANGELOG."""
    order = splits.stratified_order(np.arange(50_000) % 100)
    assert order[:6].tolist() == [34952, 30320, 10062, 9539, 25727, 47786]


def test_the_hash_is_splitmix64():
    # The first outputs of the reference implementation (https://prng.di.unimi.it/splitmix64.c) with state 0.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splits._splitmix64(np.arange(3, dtype=np.uint64)).tolist() == expected


def test_loads_what_is_in_the_archive(prepared_dir, original):
    dataset = datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    expected = {split: splits.Split(*arrays) for split, arrays in original.items()}
    train, validation, test = (dataset.splits[split] for split in ("train", "validation", "test"))
    assert sorted(rows(train) + rows(validation)) == sorted(rows(expected["train"]))
    assert rows(test) == rows(expected["test"])  # in the order of the original file
    assert np.array_equal(np.bincount(validation.labels), np.ones(100))
    assert (train.images.shape, train.images.dtype) == ((200, 32, 32, 3), np.uint8)
    assert train.labels.dtype == np.int32
    assert dataset.class_names == tuple(f"label_{index}" for index in range(100))


@pytest.mark.parametrize(("name", "side"), [("cifar100", 16), ("cifar100", 40), ("digits", 5)])
def test_images_of_one_size_are_stored_at_another(prepared_dir, name, side):
    load = functools.partial(datasets.load, name, data_dir=str(prepared_dir), validation_examples=100)
    before, after = load(), load(image_size=side)
    assert before.info.image_size != after.info.image_size == (side, side)
    for split, stored in after.splits.items():
        pixels = before.splits[split].images.astype(np.float32)
        shape = (len(pixels), side, side, 3)
        expected = np.clip(jax.image.resize(pixels, shape, "bicubic", antialias=True), 0, 255)
        assert (stored.images.shape, stored.images.dtype) == (shape, np.uint8)
        assert np.abs(stored.images - np.asarray(expected)).max() < 0.51, "rounded to whole levels"
        assert np.array_equal(stored.labels, before.splits[split].labels)


def test_of_their_own_size_they_are_left_as_they_are(prepared_dir, monkeypatch):
    monkeypatch.setattr(images, "stored_square", None)
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100, image_size=32)


def test_more_pixels_than_the_memory_holds_are_refused():
    with pytest.raises(UserError, match=r"the images of digits take .* GiB at 1000000 px.*dataset.image_size"):
        datasets.load("digits", validation_examples=100, image_size=1_000_000)


def test_validation_is_the_same_every_time_and_nested(prepared_dir, tmp_path):
    def validation(size: int, cache_dir: str) -> list[bytes]:
        loaded = datasets.load("cifar100", data_dir=str(prepared_dir), cache_dir=cache_dir, validation_examples=size)
        return rows(loaded.splits["validation"])

    assert validation(100, "") == validation(100, str(tmp_path / "other"))
    assert validation(150, "")[:100] == validation(100, "")


@pytest.mark.parametrize("size", [-1, 1, 99, 201, 5000])
def test_impossible_validation_sizes(prepared_dir, size):
    with pytest.raises(UserError, match=rf"validation_examples={size} .* from 100, one a class, to 200"):
        datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=size)


def test_digits():
    dataset = datasets.load("digits", validation_examples=150)
    from sklearn.datasets import load_digits

    original = load_digits()
    everything = [image for split in dataset.splits.values() for image in split.images]
    assert sorted(image[..., 0].tobytes() for image in everything) == sorted(
        np.rint(image / 16 * 255).astype(np.uint8).tobytes() for image in original.images
    )
    official_train = np.concatenate([dataset.splits["train"].images, dataset.splits["validation"].images])
    sizes = {"train": len(official_train), "test": len(dataset.splits["test"].labels)}
    assert sizes == dataset.info.split_sizes == registry.info("digits").split_sizes
    np.testing.assert_allclose(official_train.mean((0, 1, 2)) / 255, dataset.info.mean, atol=1e-7)
    np.testing.assert_allclose(official_train.std((0, 1, 2)) / 255, dataset.info.std, atol=1e-7)
    assert official_train.shape[1:] == (8, 8, 3) and official_train.max() == 255
    # Stratified: a fifth of each class.
    share = np.bincount(original.target) / 5
    assert np.all(np.abs(np.bincount(dataset.splits["test"].labels) - share) <= 1)
    assert np.array_equal(np.bincount(dataset.splits["validation"].labels), np.full(10, 15))
    # Labels still belong to their images.
    by_image = {image.tobytes(): label for image, label in zip(original.images, original.target)}
    test = dataset.splits["test"]
    levels = [np.rint(image[..., 0] / 255 * 16).astype(np.float64) for image in test.images]
    assert [by_image[image.tobytes()] for image in levels] == test.labels.tolist()


def test_later_starts_need_neither_tfds_nor_jax_nor_the_source(prepared_dir):
    before = datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['tensorflow_datasets', 'array_record', 'PIL', 'jax']))\n"
        "from effnet_jax.data import datasets\n"
        f"d = datasets.load('cifar100', data_dir={str(prepared_dir)!r}, validation_examples=100)\n"
        "print(d.splits['train'].images.sum())"
    )
    expected = str(before.splits["train"].images.sum())
    assert run_python(code).stdout.strip() == expected
    shutil.rmtree(prepared_dir / "cifar100")
    assert run_python(code).stdout.strip() == expected
    shutil.rmtree(prepared_dir)
    assert run_python(code).stdout.strip() == expected


def test_without_tfds_the_first_start_says_so(prepared_dir):
    result = run_python(
        "import sys; sys.modules['tensorflow_datasets'] = None\n"
        "from effnet_jax.data import datasets\n"
        f"datasets.load('cifar100', data_dir={str(prepared_dir)!r})"
    )
    assert "UserError" in result.stderr and "needs tensorflow-datasets and pillow" in result.stderr


def test_another_data_dir_never_gets_this_cache(prepared_dir, tmp_path, make_archive):
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    other_manual, other = make_archive("cifar100", seed=1)
    second = datasets.load("cifar100", data_dir=str(tmp_path), manual_dir=str(other_manual), validation_examples=100)
    assert rows(second.splits["test"]) == rows(splits.Split(*other["test"]))
    assert len(cache.folders(cache.root(""), "cifar100")) == 2


def test_a_partial_dataset_is_not_taken_for_the_official_one(prepared_dir, tmp_path, monkeypatch):
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    with pytest.raises(UserError, match="cifar100 is not in"):
        datasets.load("cifar100", validation_examples=100)
    # Were these the official sizes, the cache would do for any place that lacks the data.
    monkeypatch.setitem(registry.info("cifar100").split_sizes, "train", 300)
    monkeypatch.setitem(registry.info("cifar100").split_sizes, "test", 100)
    assert len(datasets.load("cifar100", validation_examples=100).splits["test"].labels) == 100
    with pytest.raises(UserError, match="does not exist: correct it"):  # though not for a mistyped one
        datasets.load("cifar100", data_dir=str(tmp_path / "nowhere"), validation_examples=100)


def test_unusual_sizes_are_mentioned(prepared_dir, capsys):
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    assert "holds {'train': 300, 'test': 100} images; the official cifar100" in capsys.readouterr().err


def test_environment_and_default_data_dir(prepared_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_dir))
    datasets.load("cifar100", validation_examples=100)
    monkeypatch.delenv("TFDS_DATA_DIR")
    (tmp_path / "home").mkdir()
    shutil.copytree(prepared_dir, tmp_path / "home" / "tensorflow_datasets")
    datasets.load("cifar100", validation_examples=100, cache_dir=str(tmp_path / "second_cache"))


def test_missing_data_dir(tmp_path):
    with pytest.raises(UserError, match=r"dataset.data_dir=.*/nowhere does not exist: correct it"):
        datasets.load("cifar100", data_dir=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest"])
def test_damaged_cache(prepared_dir, capsys, damage):
    before = datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    expected = rows(before.splits["train"])
    (folder,) = cache.folders(cache.root(""), "cifar100")
    victim = folder / ("manifest.json" if damage == "manifest" else "train_images.npy")
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.unlink()
    if damage != "delete":
        victim.write_bytes(content[:-1] if damage == "truncate" else content)

    hidden = prepared_dir.with_name("hidden")
    prepared_dir.rename(hidden)
    with pytest.raises(UserError) as error:
        datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    for words in (str(victim), "dataset.data_dir", "dataset.manual_dir", "cifar-100-binary.tar.gz"):
        assert words in str(error.value)

    hidden.rename(prepared_dir)
    capsys.readouterr()
    after = datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    assert rows(after.splits["train"]) == expected
    assert f"{victim} is damaged" in capsys.readouterr().err
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    assert "damaged" not in capsys.readouterr().err


def test_damaged_cache_is_made_again_from_the_archive(prepared_dir, manual_dir, capsys):
    datasets.load("cifar100", data_dir=str(prepared_dir), validation_examples=100)
    (folder,) = cache.folders(cache.root(""), "cifar100")
    (folder / "manifest.json").unlink()
    shutil.rmtree(prepared_dir / "cifar100")
    dataset = datasets.load("cifar100", data_dir=str(prepared_dir), manual_dir=str(manual_dir), validation_examples=100)
    assert len(dataset.splits["train"].labels) == 200


def test_two_processes_at_once(manual_dir, tmp_path):
    archive = cifar_archives.BINARY["cifar100"]
    code = (
        "import dataclasses\n"
        "from effnet_jax.data import datasets\n"
        "from effnet_jax.data.sets import cifar_archives\n"
        "archive = cifar_archives.BINARY['cifar100']\n"
        f"cifar_archives.BINARY['cifar100'] = dataclasses.replace(archive, sha256={archive.sha256!r})\n"
        f"d = datasets.load('cifar100', data_dir={str(tmp_path)!r}, manual_dir={str(manual_dir)!r},"
        " validation_examples=100)\n"
        "print(d.splits['train'].images.sum())"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1) for _ in "ab"]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != b""
    names = {path.name for path in cache.root("").iterdir()}
    assert len(names) == 1 and not any(name.endswith(".tmp") for name in names)
