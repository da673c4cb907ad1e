"""scripts/benchmark.py from outside, with real processes."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "benchmark.py"


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments", [("--peers=nobody",), ("--mode=sleep",), ("--sections=all",), ("--batch_size=0",)]
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


@pytest.mark.slow
def test_augmentation_beside_its_step():
    done = run("--sections=augment", "--mode=train", "--batch_size=4", "--resolution=32", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["augment"]
    assert found["case"] == "train 4 @ 32"
    for row in found["rows"]:
        assert row["share"] == pytest.approx(row["milliseconds"] / found["step_milliseconds"])
