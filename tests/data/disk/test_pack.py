"""A data set packed for a machine without a network: the same cache comes out."""

import numpy as np
import pytest

from effnet_jax import UserError
from effnet_jax.data.disk import cache, pack
from effnet_jax.process import environment


@pytest.fixture
def cached(tmp_path):
    rng = np.random.default_rng(0)
    splits = {
        "train": (rng.integers(0, 256, (11, 6, 5, 3), np.uint8), rng.integers(0, 3, 11).astype(np.int32)),
        "test": (rng.integers(0, 256, (4, 6, 5, 3), np.uint8), rng.integers(0, 3, 4).astype(np.int32)),
    }
    folder = tmp_path / "source" / "cifar100-0123"
    return folder, cache.write(folder, cache.Cached(("a", "b", "c"), splits, "/data/cifar100/3.0.2"))


@pytest.mark.parametrize("block", [4, 5_000])
def test_every_byte_comes_back(cached, tmp_path, monkeypatch, block):
    monkeypatch.setattr(pack, "_BLOCK", block)
    folder, original = cached
    parts = pack.pack(folder, tmp_path / "packed")
    assert [path.name for path in parts] == ["part0.npz", "part1.npz"]
    found = cache.read(pack.unpack(parts, tmp_path / "there"))
    assert (found.class_names, found.source) == (original.class_names, original.source)
    for split, arrays in original.splits.items():
        for a, b in zip(arrays, found.splits[split]):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_a_missing_part_is_told(cached, tmp_path):
    folder, _ = cached
    parts = pack.pack(folder, tmp_path / "packed")
    with pytest.raises(UserError, match="found 1 of 2 parts"):
        pack.unpack(parts[:1], tmp_path / "there")
    with pytest.raises(UserError, match="found 0 of 2 parts"):
        pack.unpack([], tmp_path / "there")


def test_nothing_to_pack(tmp_path):
    with pytest.raises(UserError, match="holds no decoded data set"):
        pack.pack(tmp_path / "cifar100-0123", tmp_path / "packed")


def test_a_copied_tree_says_which_commit_it_is(monkeypatch):
    monkeypatch.setenv(environment.COMMIT_VARIABLE, "0123456789ab")
    assert environment.commit() == "0123456789ab"
