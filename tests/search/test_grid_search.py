"""A search and what it leaves on disk: pretended runs for the report, real ones for a killed worker."""

import csv
import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from effnet_jax import create_model, report
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.search import forecast, grid_search, runner
from effnet_jax.training.records import FILES, keep
from tests import conftest
from tests.search import studies

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from effnet_jax import cli
from tests.search.studies import tiny_search
os.environ["JAX_NUM_CPU_DEVICES"] = "1"  # after conftest.py, before JAX
def main():
    from effnet_jax.search import grid_search
    for folder in {folders!r}:
        grid_search.search(tiny_search(), folder)
cli.prepare()
cli.execute(main)
"""


def start(*folders):
    """Searches one folder after the other.

    On one device, and compiled once: the processes share the cache of the test run.
    """
    program = PROGRAM.format(root=str(ROOT), folders=[str(folder) for folder in folders])
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def table_of(folder):
    """Without what is allowed to differ: the time, and the commit where someone commits meanwhile."""
    volatile = ("wall_seconds", "commit", "commits")
    results = json.loads((folder / "grid_search.json").read_text())
    rows = csv.DictReader((folder / "trials.csv").open())
    return tuple(
        [{key: value for key, value in row.items() if key not in volatile} for row in table]
        for table in ([results], rows)
    )


@pytest.fixture(scope="module")
def pretended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "train_and_evaluate", studies.pretend)
        conftest.no_pictures.__wrapped__(patch)
        grid_search.search(studies.wider_search(), folder)
    grid_search.search(studies.wider_search(), folder)  # nothing is left to train, and the picture is drawn
    return folder


def test_the_report(pretended):
    (results,), rows = table_of(pretended)
    ranking = results["ranking"]
    assert [row["rank"] for row in ranking] == list(range(1, len(ranking) + 1)) and len(ranking) >= 3
    assert [row["mean"] for row in ranking] == sorted((row["mean"] for row in ranking), reverse=True)
    assert results["n"] == {"candidates": len(ranking), "seeds": [0, 1], "validation_images": 180}
    assert [results["chosen"][key] for key in ("alpha", "beta", "gamma")] == [
        ranking[0][key] for key in ("alpha", "beta", "gamma")
    ]
    assert len(rows) == 2 * len(ranking)
    for row in rows:
        stored = json.loads((pretended / "runs" / row["task"] / "results.json").read_text())
        mine = next(r for r in ranking if row["task"].startswith(r["name"] + "_seed"))
        assert float(row["validation_accuracy"]) == stored["validation"]["accuracy"] in mine["accuracies"]
        assert int(row["macs"]) == stored["macs"] == mine["macs"]
    text = (pretended / "grid_search.md").read_text()
    assert "180 validation images" in text and "Chosen: alpha" in text and text.count("\n| ") == 1 + len(ranking)
    assert f"--config.dataset.resolution={results['chosen']['resolution']}" in text
    assert "test" not in (pretended / "grid_search.json").read_text().replace(results["command"], "")
    assert (pretended / "grid_search.png").stat().st_size > 10_000


@pytest.mark.usefixtures("no_pictures")
def test_records_are_done_on_any_machine(pretended, tmp_path, monkeypatch, capsys):
    """Half of the records, an empty workdir: the other half is trained, and the report is the same."""
    trained, records = [], tmp_path / "results/search/runs"

    def counting(config, folder, on_validation, **more):
        if not (pathlib.Path(folder) / "results.json").exists():
            trained.append(pathlib.Path(folder).name)
        return studies.pretend(config, folder, on_validation, **more)

    folders = sorted((pretended / "runs").glob("*_seed?"))
    for folder in folders[::2]:
        assert keep(folder, records / folder.name)
    monkeypatch.setattr(runner, "train_and_evaluate", counting)
    grid_search.search(studies.wider_search(), tmp_path / "first", records=records)
    assert sorted(trained) == [folder.name for folder in folders[1::2]]
    assert table_of(tmp_path / "first") == table_of(pretended)
    assert sorted(path.name for path in records.iterdir()) == [folder.name for folder in folders]
    assert {path.name for path in (records / folders[1].name).iterdir()} == set(FILES)

    trained.clear()
    capsys.readouterr()
    grid_search.search(studies.wider_search(), tmp_path / "second", records=records)
    assert not trained and table_of(tmp_path / "second") == table_of(pretended)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial")]
    assert len(told) == len(folders) and all("by its record; " in line for line in told), "one line each"

    before = {path: path.read_bytes() for path in records.rglob("*.json")}
    other = studies.wider_search()
    other.train.label_smoothing = 0.0
    grid_search.search(other, tmp_path / "third", records=records)
    assert len(trained) == len(folders), "records of another config are no help"
    assert "label_smoothing: 0.1 -> 0.0" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in records.rglob("*.json")} == before, "and stay as they are"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("same", [True, False])
def test_only_runs_that_ended_on_such_a_machine_say_how_long_the_rest_takes(same, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "train_and_evaluate", studies.pretend)  # its results say hardware "none"
    monkeypatch.setattr(runner.environment, "hardware", lambda: "none" if same else "another")
    grid_search.search(studies.wider_search(), tmp_path)
    ended = [line for line in capsys.readouterr().out.splitlines() if "; " in line and line.startswith("trial")]
    assert len(ended) > 2 and ["left with 1 worker" in line for line in ended[:-1]] == [same] * (len(ended) - 1)


@pytest.mark.usefixtures("no_pictures")
def test_after_its_first_steps_a_search_says_how_long_it_takes(tmp_path, monkeypatch, capsys):
    """A pretended run takes a minute a million MACs by its first steps, and one second in the end."""
    monkeypatch.setattr(runner, "train_and_evaluate", studies.pretend)
    results = grid_search.search(studies.wider_search(), tmp_path)
    minutes = sum(2 * row["macs"] for row in results["ranking"]) / 1e6
    said = [line for line in capsys.readouterr().out.splitlines() if "forecast" in line]
    count = 2 * len(results["ranking"])
    assert said == [
        f"forecast  {forecast.in_words(60 * minutes)} for the {count} runs left, by the first steps of this one"
    ]


@pytest.mark.usefixtures("no_pictures")
def test_a_forecast_is_of_runs_to_train_not_of_those_with_a_record(pretended, tmp_path, monkeypatch, capsys):
    records = tmp_path / "results/search/runs"
    folders = {folder.name: folder for folder in (pretended / "runs").glob("*_seed?")}
    for name in folders:
        if name.endswith("_seed1"):  # the last half
            keep(folders[name], records / name)
    monkeypatch.setattr(runner, "train_and_evaluate", studies.pretend)
    monkeypatch.setattr(runner.environment, "hardware", lambda: "none")
    grid_search.search(studies.wider_search(), tmp_path / "run", records=records)
    said = capsys.readouterr().out.splitlines()
    assert [f"the {len(folders) // 2} runs left" in line for line in said if line.startswith("forecast")] == [True]
    ended = [" left with 1 worker" in line for line in said if line.startswith("trial") and " done" in line]
    assert ended == [True] * (len(folders) // 2 - 1) + [False] * (len(folders) // 2 + 1)


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "3 s"), (600, "10 min"), (36_000, "10.0 h"), (864_000, "10.0 days")]
)
def test_durations_in_words(seconds, words):
    assert forecast.in_words(seconds) == words


def test_the_rest_of_a_study_by_runs_of_other_sizes():
    costs = {"small": 10, "large": 30, "next": 20}
    assert forecast.seconds_left(costs, {"small": 1.0, "large": 3.0}, ["next"]) == pytest.approx(2.0)


@pytest.mark.usefixtures("no_pictures")
def test_a_search_that_was_stopped_has_a_report_of_what_is_done(tmp_path, monkeypatch):
    def stopped(config, folder, on_validation, **more):
        if len(list(pathlib.Path(folder).parent.glob("*/results.json"))) == allowed:
            raise RunInterrupted("stopped")
        return studies.pretend(config, folder, on_validation, **more)

    monkeypatch.setattr(runner, "train_and_evaluate", stopped)
    for allowed, says in ((0, "Nothing is chosen"), (8, "Best so far: alpha")):
        with pytest.raises(RunInterrupted):
            grid_search.search(studies.wider_search(), tmp_path / "run")
        (results,), rows = table_of(tmp_path / "run")
        left = len(rows := list(rows)) - allowed
        assert sorted(row["state"] for row in rows) == ["complete"] * allowed + ["unfinished"] * left
        assert len(results["unfinished"]) == left
        text = (tmp_path / "run/grid_search.md").read_text()
        assert says in text and f"Not finished: {left} of {len(rows)} runs." in text
    path = report.write(tmp_path / "run", tmp_path / "report")
    assert text_of(path).count("missing: not run") == left and "Best so far" in text_of(path)


def text_of(path):
    return (path.parent / "report.md").read_text()


@pytest.mark.slow
def test_a_killed_search_ends_with_the_same_table(tmp_path):
    """kill -9 in the middle of a trial that has a checkpoint; real training on the digits throughout."""
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    process = start(folder)
    run = folder / "runs/a1_b1.4_g1_seed0"
    while not (run / "checkpoints/5").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (run / "results.json").exists()
    again = start(folder, undisturbed)
    output, _ = again.communicate()
    assert again.returncode == 0
    assert output.count("resuming  at step") == 1
    assert table_of(folder) == table_of(undisturbed)
    assert table_of(folder)[0][0]["ranking"][0]["mean"] > 0.2, "it has learned something"


def test_the_chosen_coefficients_make_the_model_that_was_trained(pretended):
    (results,), _ = table_of(pretended)
    chosen, best = results["chosen"], results["ranking"][0]
    options = studies.wider_search().train.model.to_dict() | {
        key: chosen[key] for key in ("width_multiplier", "depth_multiplier")
    }
    assert create_model(**options).architecture.count(chosen["resolution"], 10).macs == best["macs"]


def test_a_search_of_another_space_in_the_workdir_is_refused(pretended):
    config = studies.wider_search()
    config.train.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"train.optimizer.learning_rate: 0.02 -> 0.5"):
        grid_search.search(config, pretended)


def test_seeds_must_differ(tmp_path):
    config = studies.tiny_search()
    config.search.seeds = (1, 1)
    with pytest.raises(UserError, match="different numbers"):
        grid_search.search(config, tmp_path)
