"""A whole search on scikit-learn's digits, undisturbed and killed: the same table."""

import csv
import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from effnet_jax.errors import UserError
from effnet_jax.search import grid_search
from tests.search.studies import tiny_search

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from effnet_jax import cli
from tests.search.studies import tiny_search
def main(arguments):
    from effnet_jax.search import grid_search
    grid_search.search(tiny_search(), {folder!r})
cli.run(main)
"""


def start(folder):
    program = PROGRAM.format(root=str(ROOT), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def table_of(folder):
    results = json.loads((folder / "grid_search.json").read_text())
    del results["wall_seconds"]
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    return results, [{key: value for key, value in row.items() if key != "wall_seconds"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "run"
    assert start(folder).wait() == 0
    return folder


def test_the_report(undisturbed):
    results, rows = table_of(undisturbed)
    assert [row["name"] for row in results["ranking"]] == [
        row["name"] for row in sorted(results["ranking"], key=lambda row: (-row["mean"], row["name"]))
    ]
    assert {row["name"] for row in results["ranking"]} == {"a1_b1_g1.4", "a1_b1.4_g1"}
    assert results["n"] == {"candidates": 2, "seeds": [0], "validation_images": 180}
    best = results["ranking"][0]
    assert all(row["mean"] > 0.3 for row in results["ranking"]), "they have learned something"
    assert [results["chosen"][key] for key in ("alpha", "beta", "gamma")] == [
        best[k] for k in ("alpha", "beta", "gamma")
    ]
    for row in rows:
        stored = json.loads((undisturbed / "runs" / row["task"] / "results.json").read_text())
        prefix = "ema_" if stored["selected_weights"] == "ema" else ""
        assert float(row["validation_accuracy"]) == stored["validation"][prefix + "accuracy"]
        assert int(row["macs"]) == stored["macs"] == next(
            r["macs"] for r in results["ranking"] if row["task"].startswith(r["name"] + "_")
        )  # fmt: skip
    text = (undisturbed / "grid_search.md").read_text()
    assert "180 validation images" in text and "Chosen: alpha" in text and text.count("\n| ") == 3
    assert "test" not in (undisturbed / "grid_search.json").read_text()
    assert (undisturbed / "grid_search.png").stat().st_size > 10_000


def test_a_killed_search_ends_with_the_same_table(undisturbed, tmp_path):
    """kill -9 in the middle of a trial that has a checkpoint; real training throughout."""
    folder = tmp_path / "run"
    process = start(folder)
    checkpoints = folder / "runs/a1_b1_g1.4_seed0/checkpoints/5"
    while not checkpoints.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "runs/a1_b1_g1.4_seed0/results.json").exists()
    again = start(folder)
    output, _ = again.communicate()
    assert again.returncode == 0
    assert "resuming  at step" in output
    assert table_of(folder) == table_of(undisturbed)


def test_the_chosen_coefficients_make_the_model_that_was_trained(undisturbed):
    from effnet_jax import create_model

    results, _ = table_of(undisturbed)
    chosen, best = results["chosen"], results["ranking"][0]
    options = tiny_search().train.model.to_dict() | {
        key: chosen[key] for key in ("width_multiplier", "depth_multiplier")
    }
    assert create_model(**options).architecture.count(chosen["resolution"], 10).macs == best["macs"]


def test_a_search_of_another_space_in_the_workdir_is_refused(undisturbed):
    config = tiny_search()
    config.train.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"train.optimizer.learning_rate: 0.02 -> 0.5"):
        grid_search.search(config, undisturbed)


def test_seeds_must_differ(tmp_path):
    config = tiny_search()
    config.search.seeds = (1, 1)
    with pytest.raises(UserError, match="different numbers"):
        grid_search.search(config, tmp_path)
