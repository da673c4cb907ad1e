"""What streams from files: every example, in an order that depends on nothing but the seed and the step."""

import dataclasses
import mmap
import pathlib
import shutil
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from effnet_jax.data import datasets
from effnet_jax.data.decode import crops
from effnet_jax.data.device import sources, streamed
from effnet_jax.errors import UserError
from effnet_jax.process import sharding
from tests.data import photographs

OPTIONS = {"resolution": 8, "image_size": 10, "streaming": True, "num_workers": 0, "held_out_fraction": 0.2}


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    """16 + 9 training images, 5 of them held out, and 4 + 3 others."""
    counts = {"train": {"ape": 16, "cat": 9}, "val": {"ape": 4, "cat": 3}}
    return photographs.write_folder(tmp_path_factory.mktemp("photographs") / "set", counts)


@pytest.fixture(scope="module")
def dataset(name, tmp_path_factory):
    return datasets.load(name, cache_dir=str(tmp_path_factory.mktemp("cache")), **OPTIONS)


def drawn(split, batches, batch_size=6, seed=3):
    """The training batches of these numbers, all in one."""
    stream = streamed.training_batches(split, seed, batch_size)
    parts = [stream[number] for number in batches]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def test_splits_are_those_of_the_decoded_folder(name, dataset):
    decoded = datasets.load(name, **OPTIONS | {"streaming": False})
    for split, content in decoded.splits.items():
        np.testing.assert_array_equal(dataset.splits[split].labels, content.labels)
    assert dataset.class_names == decoded.class_names and dataset.crop_fraction == 0.875
    assert dataset.splits["test"].images[0].shape == (40, 48, 3)


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own(dataset, monkeypatch):
    split = dataset.splits["train"]  # 20 images: 3 batches of 6 and 2 left over
    marked = lambda content, name, side, crop, rng: np.full((side, side, 3), int(name[-7:-4]), np.uint8)  # noqa: E731
    monkeypatch.setattr(crops, "random_crop", marked)
    names = [
        [(label, image[0, 0, 0]) for label, image in zip(part["labels"], part["images"])]
        for part in (drawn(split, range(3 * epoch, 3 * epoch + 3)) for epoch in range(4))
    ]
    assert all(len(set(epoch)) == 18 for epoch in names)
    assert len({tuple(epoch) for epoch in names}) == 4
    assert len(set().union(*names)) == 20, "another remainder is left out each time"


def test_crops_differ_from_epoch_to_epoch_and_follow_from_seed_and_number(dataset):
    split = dataset.splits["train"]
    np.testing.assert_array_equal(drawn(split, [0, 4])["images"], drawn(split, [0, 4])["images"])
    assert (drawn(split, [0])["images"] != drawn(split, [0], seed=4)["images"]).any()
    first, second = drawn(split, range(3)), drawn(split, range(3, 6))
    assert not {image.tobytes() for image in first["images"]} & {image.tobytes() for image in second["images"]}
    assert first["images"].shape == (18, 10, 10, 3) and first["images"].dtype == np.uint8


def test_two_processes_share_the_examples_of_each_batch(dataset, monkeypatch):
    split, whole = dataset.splits["train"], drawn(dataset.splits["train"], [1])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        share = drawn(split, [1])
        half = slice(3 * process, 3 * process + 3)
        np.testing.assert_array_equal(share["images"], whole["images"][half])
        np.testing.assert_array_equal(share["labels"], whole["labels"][half])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_feeds_go_on_where_they_stopped_on_any_number_of_workers(name, workers):
    mesh = sharding.data_mesh(jax.devices()[:2])
    split = datasets.load(name, **OPTIONS | {"num_workers": workers}).splits["train"]
    source, key = sources.open_split(split, mesh), jax.random.key(0)

    def read(step, state, count):
        feeds = source.feeds(key, 6, step, state)
        images = [np.asarray(feeds.at(step + ahead).images) for ahead in range(count)]
        state = feeds.state()
        feeds.close()
        return images, state

    whole, _ = read(0, None, 5)
    begun, state = read(0, None, 3)
    resumed, _ = read(3, state, 2)
    np.testing.assert_array_equal(np.stack(begun + resumed), np.stack(whole))
    seed = int(jax.random.bits(key))
    np.testing.assert_array_equal(whole[4], streamed.training_batches(split, seed, 6)[4]["images"])


def test_other_images_than_those_of_the_checkpoint_are_refused(dataset):
    source = sources.open_split(dataset.splits["train"], sharding.data_mesh(jax.devices()[:1]))
    state = source.feeds(jax.random.key(0), 6, 0, None).state()
    fewer = sources.open_split(dataset.splits["train"].part(slice(1, None)), sharding.data_mesh(jax.devices()[:1]))
    with pytest.raises(UserError, match="not those that this run began with"):
        fewer.feeds(jax.random.key(0), 6, 0, state)


def test_evaluation_sees_every_example_once(dataset):
    split = dataset.splits["test"]
    source = sources.open_split(split, sharding.data_mesh(jax.devices()[:2]))
    windows = list(source.windows(4))
    masks = np.concatenate([window.mask for window in windows])
    assert masks.tolist() == [True] * 7 + [False]
    np.testing.assert_array_equal(np.concatenate([window.labels for window in windows])[masks], split.labels)
    expected = [crops.central_crop(split[index].content, "it", 8, 0.875) for index in range(7)]
    np.testing.assert_array_equal(np.concatenate([window.images for window in windows])[masks], expected)


def test_a_broken_image_ends_the_run_or_is_left_out_beforehand(tmp_path):
    name = photographs.write_folder(tmp_path / "set", {"train": {"ape": 9, "cat": 8}, "val": {"ape": 2, "cat": 2}})
    broken = tmp_path / "set/train/cat/003.jpg"
    broken.write_bytes(broken.read_bytes()[:400])
    source = sources.open_split(datasets.load(name, **OPTIONS).splits["train"], sharding.data_mesh(jax.devices()[:1]))
    feeds = source.feeds(jax.random.key(0), 2, 0, None)
    with pytest.raises(UserError, match=r"cat/003\.jpg.*mend or remove it"):
        for step in range(7):
            feeds.at(step)
    feeds.close()
    skipping = OPTIONS | {"broken_images": "skip"}
    for _ in range(2):  # looked for, then remembered
        splits = datasets.load(name, **skipping).splits
        assert sum(len(splits[split]) for split in ("train", "validation")) == 16
        names = {splits[split][index].name for split in splits for index in range(len(splits[split]))}
        assert str(broken) not in names and len(names) == 20


def died(code=-9):
    return RuntimeError(f"Worker process was terminated unexpectedly with exit code {code}. Search the logs above")


def test_after_a_death_the_next_batch_is_the_next_batch(dataset, monkeypatch, capsys):
    """Whatever had been read ahead."""
    source = sources.open_split(dataset.splits["train"], sharding.data_mesh(jax.devices()[:1]))
    read_ahead = streamed._read_ahead

    def dying(batches, mesh, num_workers, label, count):
        for batch, _ in zip(read_ahead(batches, mesh, num_workers, label), range(count)):
            yield batch
        raise died()

    def images(counts):
        left = iter(counts)
        monkeypatch.setattr(streamed, "_read_ahead", lambda *arguments: dying(*arguments, next(left)))
        feeds = source.feeds(jax.random.key(0), 6, 2, {**source.feeds(jax.random.key(0), 6, 2, None).state()})
        return np.stack([np.asarray(feeds.at(step).images) for step in range(2, 7)])

    whole = images([5])
    assert not capsys.readouterr().err
    np.testing.assert_array_equal(images([0, 3, 2]), whole)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("a data worker died (exit code -9" in line for line in lines)
    with pytest.raises(UserError, match=r"exit code -9.*as 2 did before: set --config.dataset.num_workers lower"):
        images([1, 1, 1])
    monkeypatch.setattr(streamed, "MAX_DEATHS", 99)
    monkeypatch.setattr(streamed, "_read_ahead", lambda *_: (_ for _ in ()).throw(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        source.feeds(jax.random.key(0), 6, 0, None).at(0)


def test_an_evaluation_goes_on_without_the_workers_that_die(name, dataset, monkeypatch, capsys):
    """It cannot be saved half-way, so its last resort is threads."""
    source = sources.open_split(dataset.splits["validation"], sharding.data_mesh(jax.devices()[:1]))
    whole = [np.asarray(batch.images) for batch in source.windows(1)]
    read_ahead, asked = streamed._read_ahead, []

    def dying(batches, mesh, num_workers, label):
        asked.append(num_workers)
        if not num_workers:
            yield from read_ahead(batches, mesh, 0, label)
            return
        yield next(iter(read_ahead(batches, mesh, 0, label)))
        raise died()

    monkeypatch.setattr(streamed, "_read_ahead", dying)
    split = datasets.load(name, **OPTIONS | {"num_workers": 2}).splits["validation"]
    workers = sources.open_split(split, sharding.data_mesh(jax.devices()[:1]))
    found = [np.asarray(batch.images) for batch in workers.windows(1)]
    np.testing.assert_array_equal(np.stack(found), np.stack(whole))
    assert asked == [2, 2, 2, 0] and len(found) > 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "as 2 did before; this evaluation goes on with threads" in lines[-1], lines


def test_small_sets_do_not_stream_and_large_ones_do():
    assert [datasets.streams(name, None) for name in ("cifar100", "food101", "imagenet2012")] == [False, True, True]
    assert not datasets.streams("folder:x", None) and datasets.streams("folder:x", True)
    for name, wanted in (("digits", True), ("food101", False)):
        with pytest.raises(UserError, match=r"leave config\.dataset\.streaming unset"):
            datasets.streams(name, wanted)


def with_two_workers(name, body):
    """A Python command line that opens the training split as `source`, read by two workers, and then does `body`."""
    script = f"""
import time
import jax
from effnet_jax.process import sharding
from effnet_jax.data import datasets
from effnet_jax.data.device import streamed
if __name__ == "__main__":
    split = datasets.load({name!r}, **{OPTIONS | {"num_workers": 2}}).splits["train"]
    source = streamed.StreamedSource(split, sharding.data_mesh())
    {body}
"""
    return [sys.executable, "-c", script]


@pytest.mark.slow
def test_shared_memory_is_given_back_at_the_end_of_training_and_evaluation(name):
    """Soon: Grain does so in a thread of its own."""
    body = "f = source.feeds(jax.random.key(0), 8, 0, None); f.at(0); f.close(); len(list(source.windows(8)))"
    process = subprocess.Popen(with_two_workers(name, f"{body}; print('ready', flush=True); time.sleep(99)"),
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n"
        maps, deadline = pathlib.Path(f"/proc/{process.pid}/maps"), time.monotonic() + 20
        while "/dev/shm/psm_" in maps.read_text():
            assert time.monotonic() < deadline, "batches are still held"
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(name):
    first_of_each = "f = source.feeds(jax.random.key(0), 8, 0, None); f.at(0); f.at(1)"
    body = f"{first_of_each}; print('ready', flush=True); time.sleep(99)"
    parent = subprocess.Popen(with_two_workers(name, body), stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    threads = pathlib.Path(f"/proc/{parent.pid}/task").glob("*/children")
    children = [child for thread in threads for child in thread.read_text().split()]
    assert len(children) >= 3, "two workers, and Python's own tracker of shared memory"
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(pathlib.Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_worker_is_started_again(name, tmp_path):
    body = f"""
    import os, signal, multiprocessing
    f = source.feeds(jax.random.key(0), 8, 0, None)
    batches = []
    for step in range(40):
        batches.append(np.asarray(f.at(step).images))
        if step in (0, 16):
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    f.close()
    np.save({str(tmp_path / "batches.npy")!r}, np.stack(batches))
    """
    command = with_two_workers(name, "import numpy as np" + body)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("a data worker died (exit code -9") == 2 and "leaked" not in done.stderr, done.stderr
    split = datasets.load(name, **OPTIONS).splits["train"]
    stream = streamed.training_batches(split, int(jax.random.bits(jax.random.key(0))), 8)
    expected = np.stack([stream[number]["images"] for number in range(40)])
    np.testing.assert_array_equal(np.load(tmp_path / "batches.npy"), expected)


def test_devices_do_not_hold_the_memory_of_workers():
    shared = np.frombuffer(mmap.mmap(-1, 4096), np.uint8)  # aligned, so that a CPU could take it as it is
    batch = {"images": shared.reshape(8, 8, 8, 8), "labels": np.arange(8), "mask": np.ones(8, bool)}
    put = streamed._put(sharding.batch_sharded(sharding.data_mesh()), batch)
    shared[:] = 1
    assert not put.images.any()


def test_too_little_shared_memory_is_said_beforehand(dataset, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**10))
    split = dataset.splits["train"]
    split = dataclasses.replace(split, reading=dataclasses.replace(split.reading, num_workers=2))
    source = sources.open_split(split, sharding.data_mesh(jax.devices()[:1]))
    with pytest.raises(UserError, match="num_workers lower, or to 0 for threads"):
        source.feeds(jax.random.key(0), 6, 0, None)
