"""Pickles of data: read as NumPy would read them, and nothing in them is run."""

import datetime
import pickle

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from effnet_jax.data.disk import pickles
from effnet_jax.errors import UserError
from tests.data import python2_pickles

ROWS = np.arange(12, dtype=np.uint8).reshape(3, 4)
CONTENT = {b"data": ROWS, b"labels": [7, 0, 255], b"name": b"a batch"}


def test_numpy_reads_the_pickles_of_these_tests():
    found = pickle.loads(python2_pickles.dumps(CONTENT), encoding="latin1")
    np.testing.assert_array_equal(found["data"], ROWS)
    assert found["labels"] == [7, 0, 255]


@pytest.mark.parametrize(
    "content",
    [
        python2_pickles.dumps(CONTENT),
        *(pickle.dumps(CONTENT | {b"data": ROWS}, protocol=protocol) for protocol in (2, 3, 4)),
        pickle.dumps({"data": np.asfortranarray(ROWS), "labels": [7, 0, 255], "name": b"a batch"}, protocol=2),
    ],
)
def test_the_same_from_every_writer(content):
    found = pickles.read(content, "batch")
    np.testing.assert_array_equal(found.pop("data"), ROWS)
    assert found == {"labels": [7, 0, 255], "name": b"a batch"}


class Runs:
    def __reduce__(self):
        return print, ("this was run",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": Runs()}, r"batch: it holds more than numbers, text and arrays \(.*print\)"),
        ({"a": datetime.date(2020, 1, 1)}, r"\(datetime.date\)"),
        ({"a": np.zeros(3)}, "batch is damaged .an array of 'f8', not of bytes"),
        ([1], "holds no dictionary"),
    ],
)
def test_nothing_else_is_read(value, words, capsys):
    with pytest.raises(UserError, match=words):
        pickles.read(pickle.dumps(value, protocol=2), "batch")
    assert capsys.readouterr().out == ""


@hypothesis.given(st.data())
def test_damage_is_named(data):
    content = bytearray(python2_pickles.dumps(CONTENT))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pickles.read(bytes(content[: data.draw(st.integers(0, len(content)))]), "batch")
    except UserError as error:
        assert str(error).startswith("batch")
