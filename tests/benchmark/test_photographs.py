"""Loaders of photographs in turns; those that are not installed are said to be."""

import importlib.util
import os

import pytest

from effnet_jax.benchmark import photographs, report
from tests.data.photographs import write_folder


@pytest.fixture
def any_core():
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


def test_every_loader_that_is_there_has_a_rate(tmp_path, monkeypatch, any_core):
    write_folder(tmp_path, {"train": {"ape": 2, "cat": 1}})
    find_spec = importlib.util.find_spec
    absent = lambda name, package=None: None if name == "tensorflow" else find_spec(name, package)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    found = photographs.measure(str(tmp_path), 16, rounds=2, round_seconds=0.0)
    assert (found["source"], found["images"], found["pixels"]) == (tmp_path.name, 3, 40 * 48)
    rows = {row["implementation"]: row for row in found["rows"]}
    assert rows["effnet_jax"]["ours_is_faster_by"] == 1 and len(rows["effnet_jax"]["rates"]) == 2
    cached = rows["effnet_jax, decoded cache"]
    assert cached["cached_is_faster_by"] == 1 and cached["ours_is_faster_by"] > 0 and len(cached["rates"]) == 2
    assert rows["tf.data"]["rates"] == () and rows["tf.data"]["cached_is_faster_by"] is None
    text = report._data(found)
    assert "| tf.data | not installed |" in text and "| effnet_jax | " in text


def test_photographs_that_are_always_there(any_core):
    found = photographs.measure(None, 16, rounds=1, round_seconds=0.0)
    assert (found["source"], found["images"], found["pixels"]) == ("scikit-learn", 2, 427 * 640)
