"""The table of what an accelerator's compiler says of a step."""

import importlib.util

import pytest

from effnet_jax.benchmark import counts
from effnet_jax.errors import UserError


def rows_of(monkeypatch, found, accelerator="h100"):
    monkeypatch.setattr(counts.importlib.metadata, "version", lambda package: "1")
    monkeypatch.setattr(counts.runtime, "select_platform", lambda name: None)
    monkeypatch.setattr(counts, "isolated", lambda module, function, config, accelerator: found)
    return counts.count(counts.default_steps(accelerator)[:1], accelerator, lambda line: None)


def test_a_row_says_what_fits(monkeypatch):
    found = {"kernels": 878, "small": 405, "bytes": 8_822_488_103, "fixed": 2**30, "peak": 3 * 2**30}
    (row,) = rows_of(monkeypatch, found)
    # 128 images need 2 GiB beside the fixed one; of 79.1 GiB JAX takes 59.3.
    assert row["fits"] == int((0.75 * 84_929_347_584 / 2**30 - 1) / 2 * 128)
    line = "| efficientnet_b0, 128 @ 32, float32, rmsprop | 878 | 405 | 8.8 | 3.0 | 3,732 |"
    assert line in counts.markdown([row], "h100")


def test_what_is_counted_by_default():
    assert [counts.described(config) for config in counts.default_steps("h100")] == [
        "efficientnet_b0, 128 @ 32, float32, rmsprop",
        "efficientnet_b0, 512 @ 32, bfloat16, sgd, trivialaugment, mixed",
        "efficientnet_b0, 256 @ 224, bfloat16, rmsprop",
    ]


@pytest.mark.skipif(importlib.util.find_spec("jax_cuda12_plugin") is not None, reason="it is installed here")
def test_without_the_compiler_it_says_how_to_get_one():
    with pytest.raises(UserError, match="make gpu-count"):
        counts.count([], "h100", print)


def test_four_chips_share_a_batch_and_exchange(monkeypatch):
    found = {"kernels": 3000, "small": 2000, "bytes": 60e9, "fixed": 2**30, "peak": 3 * 2**30, "exchanges": 77}
    (row,) = rows_of(monkeypatch, found, "v5e:2x2")
    assert row["fits"] == int((16 - 1) / 2 * 4 * 128)
    text = counts.markdown([row], "v5e:2x2")
    assert text.splitlines()[2].endswith("| images that fit | exchanges |")
    assert "| efficientnet_b0, 512 @ 32, float32, rmsprop | 3000 | 2000 | 60.0 | 3.0 | 3,840 | 77 |" in text


@pytest.mark.parametrize(("accelerator", "chips"), [("v5e", 1), ("v5e:2x2", 4)])
def test_a_chip_of_several_has_the_batch_of_one(accelerator, chips):
    assert [config.batch_size for config in counts.default_steps(accelerator)] == [128 * chips, 256 * chips]
