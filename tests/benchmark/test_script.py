"""scripts/benchmark.py from outside, with real processes."""

import json
import pathlib
import subprocess
import sys

import pytest

from effnet_jax.benchmark import cam, report
from effnet_jax.benchmark.rounds import Result

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "benchmark.py"


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [("--peers=nobody",), ("--mode=sleep",), ("--sections=all",), ("--batch_size=0",), ("--config=b0_cifar100",)],
)
def test_bad_input_is_one_line(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.slow
def test_two_implementations_side_by_side(tmp_path):
    arguments = ("--mode=inference", "--batch_size=2", "--resolution=32", "--peers=naive", "--rounds=2")
    done = run(*arguments, "--round_seconds=0.1", "--json", f"--output={tmp_path / 'report.md'}")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data == json.loads((tmp_path / "report.json").read_text())
    assert [result["implementation"] for result in data["results"]] == ["effnet_jax", "naive"]
    for result in data["results"]:
        assert result["min"] <= result["images_per_second"] <= result["max"]
        assert result["peak_memory_mb"] > 100
    assert "| inference 2 @ 32 | naive |" in (tmp_path / "report.md").read_text()


def test_maps_are_compared_with_the_inference_of_their_own_side(monkeypatch):
    rates = {"inference": 100.0, "grad_cam": 90.0, "grad_cam_plus_plus": 80.0, "layer_cam": 95.0, "score_cam": 0.05}

    def measured(case, names, rounds, round_seconds, say):
        factor = lambda name: 1.0 if name.startswith("effnet_jax") else 0.25  # noqa: E731
        result = lambda name: Result(name, case, (factor(name) * rates[name.split(": ")[1]],) * rounds, None, 2**30)  # noqa: E731
        return [result(name) for name in names]

    monkeypatch.setattr(cam, "measure", measured)
    found = cam.cam(True, 3, 0.0, print)
    rows = {(row["implementation"], row["what"]): row for row in found}
    assert rows["effnet_jax", "grad_cam"]["share_of_own_inference"] == pytest.approx(0.9)
    assert rows["pytorch-grad-cam", "layer_cam"]["share_of_own_inference"] == pytest.approx(0.95)
    assert rows["pytorch-grad-cam", "grad_cam"]["ours_is_faster_by"] == pytest.approx(4)
    assert rows["effnet_jax", "score_cam"]["forwards_per_second"] == pytest.approx(1280 * 0.05)
    text = report._cam(found)
    assert "| 16 | grad_cam | effnet_jax | 90 [90, 90] | 90% | 1.00x |" in text
    assert "| 1 | score_cam | pytorch-grad-cam | 0.0125 [0.0125, 0.0125] | 16 forward passes/s | 4.00x |" in text


@pytest.mark.slow
def test_memory_of_a_checkpoint_in_use():
    done = run("--sections=footprint", "--mode=inference", "--batch_size=2", "--resolution=32", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["footprint"]
    assert (found["model"], found["batch_size"], found["resolution"]) == ("efficientnet_b0", 2, 32)
    assert list(found["peak_memory_mb"]) == ["forward", "predict", "evaluate", "cam"]
    assert min(found["peak_memory_mb"].values()) > 20, "B0's weights"


def test_memory_is_told_in_times_of_the_forward_pass():
    peaks = {"forward": 100.0, "predict": 110.0, "evaluate": 120.4, "cam": 130.0}
    row = {"model": "efficientnet_b4", "batch_size": 32, "resolution": 380, "peak_memory_mb": peaks}
    text = report._footprint([row])
    assert "| efficientnet_b4, 32 @ 380 | 100 | 110 (1.10x) | 120 (1.20x) | 130 (1.30x) |" in text


@pytest.mark.slow
def test_augmentation_beside_its_step():
    done = run("--sections=augment", "--mode=train", "--batch_size=4", "--resolution=32", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["augment"]
    assert found["case"] == "train 4 @ 32"
    for row in found["rows"]:
        assert row["share"] == pytest.approx(row["milliseconds"] / found["step_milliseconds"])
