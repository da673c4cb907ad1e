"""The queue of all that results/ shows. Runs are pretended."""

import json

import ml_collections
import pytest

from configs import results
from effnet_jax.errors import RunInterrupted
from effnet_jax.report import overview
from effnet_jax.search import grid_search, runner
from effnet_jax.study import reproduction
from tests.search import studies

pytestmark = pytest.mark.usefixtures("no_pictures")
QUEUE = ml_collections.ConfigDict({"runs": (("half_b0_cifar100", 2),), "studies": ("grid_search_cpu",)})


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that were trained, in order."""
    names, stop_before = [], []

    def train(config, folder, on_validation=lambda *_: None, **more):
        if not (folder / "results.json").exists():
            if len(names) in stop_before:
                raise RunInterrupted("stopped")
            names.append(folder.name)
        return studies.pretend(config, folder, on_validation, **more)

    monkeypatch.setattr(runner, "train_and_evaluate", train)
    monkeypatch.setattr(reproduction, "train_and_evaluate", train)
    monkeypatch.setattr(grid_search, "load_data", lambda config: None)
    names_and_stops = names, stop_before
    return names_and_stops


def test_stopped_anywhere_it_goes_on_from_its_records_alone(trained, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(overview, "write", drawn.append)
    names, stop_before = trained
    listed = reproduction.items(QUEUE, tmp_path / "results")
    wanted = [task.name for item in listed for task in item.tasks]
    assert wanted[:2] == ["half_b0_cifar100_seed0", "half_b0_cifar100_seed1"] and len(wanted) == 2 + 18
    for count, machine in ((1, "first"), (5, "second")):
        stop_before[:] = [count]
        with pytest.raises(RunInterrupted):
            list(reproduction.go_on(listed, tmp_path / machine, tmp_path / "results"))
    stop_before.clear()
    done = [item.name for item in reproduction.go_on(listed, tmp_path / "third", tmp_path / "results")]
    assert done == ["half_b0_cifar100", "grid_search_cpu"]
    assert names == wanted, "in order of worth, and nothing twice"
    assert (tmp_path / "results/grid_search_cpu/report.md").exists()
    assert len(drawn) == 3 and set(drawn) == {tmp_path / "results"}
    assert (tmp_path / "results/recipes/runs/half_b0_cifar100_seed1/results.json").exists()


def test_the_status_says_what_is_left_and_how_long_that_takes(tmp_path):
    listed = reproduction.items(QUEUE, tmp_path)
    assert "not known before a run has ended on it" in reproduction.status(listed, "a machine")
    task = listed[0].tasks[0]
    folder = tmp_path / "recipes/runs" / task.name
    made = studies.pretend(task.config, folder, lambda *_: None)
    work = made["macs"] * made["steps"] * task.config.batch_size  # one second for so many multiply-adds
    said = reproduction.status(listed, "none")
    seconds = 40 * 351 * 128 * made["macs"] / work
    assert f"1 of   2 runs done  {reproduction.forecast.in_words(seconds)} left" in said
    assert "0 of  18 runs done" in said and "by the 1 runs that ended on it" in said
    assert "not known" in reproduction.status(listed, "another machine")


def test_a_record_of_another_config_is_none(tmp_path):
    (item, _) = reproduction.items(QUEUE, tmp_path)
    folder = tmp_path / "recipes/runs" / item.tasks[0].name
    studies.pretend(item.tasks[0].config, folder, lambda *_: None)
    assert list(item.finished()) == [item.tasks[0].name]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"label_smoothing": 0.0}))
    assert not item.finished()


def test_the_projects_own_queue_stands(tmp_path):
    listed = reproduction.items(results.get_config(), tmp_path)
    assert {item.kind for item in listed} == {"run", "search", "study"}
    assert len({item.name for item in listed}) == len(listed)
