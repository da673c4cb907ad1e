"""Cases, rounds and report, with workers that only pretend to compute."""

import pytest

from effnet_jax import UserError
from effnet_jax.benchmark import report, rounds, run, sections
from effnet_jax.benchmark.case import Case, cases, check_names, check_peers
from effnet_jax.benchmark.worker import WorkerFailedError

CASE = Case("efficientnet_b0", "train", 10, 32)
PEAKS = {"flops": 1e12, "bytes": 1e11, "hardware": "1 x test", "versions": {"jax": "1"}, "commit": "abc"}
SECONDS = {"effnet_jax": [1.0, 2.0, 1.0], "naive": [10.0, 10.0, 30.0]}  # of a step, turn by turn


stopped = []


class FakeWorker:
    def __init__(self, implementation, case):
        if implementation == "timm":
            raise WorkerFailedError("ImportError: no timm")
        self.name, self.turns = implementation, list(SECONDS[implementation])
        self.compile_seconds, self.step_seconds = 3.0, SECONDS[implementation][0]
        self.bytes_per_step = 5_000_000_000

    def run(self, steps):
        return steps * self.turns.pop(0)

    def finish(self):
        return 100 << 20

    def stop(self):
        stopped.append(self.name)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    stopped.clear()


def test_medians_and_paired_ratios(fake):
    ours, naive = rounds.measure(CASE, ["effnet_jax", "naive"], 3, 2.0, lambda line: None)
    assert ours.rates == (10.0, 5.0, 10.0)
    assert (ours.images_per_second, naive.images_per_second) == (10.0, 1.0)
    assert ours.ratio(naive) == 10.0  # of 10, 5 and 30
    assert stopped == ["effnet_jax", "naive"]


def test_one_that_fails_is_reported_beside_the_others(fake):
    entries = sections.steps(CASE, ["timm", "naive"], 3, 2.0, PEAKS, lambda line: None)
    assert [entry["implementation"] for entry in entries] == ["effnet_jax", "timm", "naive"]
    assert entries[1]["failure"] == "ImportError: no timm"
    contract = ("implementation", "mode", "batch_size", "resolution", "images_per_second", "min", "max")
    assert all(key in entries[2] for key in (*contract, "compile_seconds", "peak_memory_mb"))
    assert entries[2]["rates"] == pytest.approx([1, 1, 1 / 3])
    assert entries[0]["share_of_peak_flops"] == pytest.approx(CASE.flops() / 1e12)
    assert entries[0]["share_of_peak_bytes"] == pytest.approx(5e9 / 1e11)
    data = {"machine": PEAKS, "dtype": "float32", "command": "c", "date": "d", "results": entries}
    lines = report.markdown(data).splitlines()
    assert any("| naive | 1 [0.3333, 1] | 10.00x | 3.0 | 100 |" in line for line in lines)
    assert any("failed: ImportError: no timm" in line for line in lines)


def test_what_is_measured_is_kept_before_the_rest(fake, monkeypatch):
    """A benchmark takes an hour; a section that fails must not cost those before it."""
    kept = []
    monkeypatch.setattr(sections, "machine", lambda dtype, say: PEAKS | {"versions": {}})
    monkeypatch.setattr(sections, "startup", lambda case, say: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.run(
            [CASE, CASE], ["naive"], ["steps", "startup"], footprints=[], rounds=3, round_seconds=2.0,
            trace_folder=None, photographs=None, say=lambda line: None,
            keep=lambda data: kept.append(len(data["results"])),
        )  # fmt: skip
    assert kept == [2, 4]


def test_flops_are_twice_the_macs_and_three_times_that_in_training():
    inference = Case("efficientnet_b0", "inference", 2, 224)
    assert inference.flops() == 2 * 2 * inference.counts().macs
    assert Case("efficientnet_b0", "train", 2, 224).flops() == 3 * inference.flops()


def test_every_combination():
    found = cases("efficientnet_b1", ["train", "inference"], [1, 2], [32], "float32", False)
    assert [str(case) for case in found] == ["train 1 @ 32", "inference 1 @ 32", "train 2 @ 32", "inference 2 @ 32"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("efficientnet_b9", ["train"], [1], [32], "float32", False), "efficientnet_b9"),
        (("efficientnet_b0", ["training"], [1], [32], "float32", False), "did you mean 'train'"),
        (("efficientnet_b0", ["train"], [0], [32], "float32", False), "at least 1"),
    ],
)
def test_bad_cases(arguments, message):
    with pytest.raises(UserError, match=message):
        cases(*arguments)


def test_bad_peers(monkeypatch):
    with pytest.raises(UserError, match="did you mean 'timm'"):
        check_peers(["tim"])
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(UserError, match="timm needs torch and timm"):
        check_peers(["timm"])
    check_names("peer", ["a"], ("a", "b"))
