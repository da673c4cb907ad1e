"""A study by one worker, by two, and by one that is killed: the same table. Its runs are pretended."""

import json
import pathlib
import re
import signal
import time

import pytest

from effnet_jax import report
from effnet_jax.errors import UserError
from effnet_jax.search import runner
from effnet_jax.study import scaling_study
from effnet_jax.training import records
from tests import forked
from tests.search import studies

pytestmark = pytest.mark.usefixtures("no_pictures")


def start_worker(workdir, seconds):
    code = f"from tests.search import studies; studies.study_main({str(workdir)!r}, {seconds})"
    return forked.Process("-c", code, with_jax=True)


def study(workdir, monkeypatch, train=studies.pretend, config=None):
    monkeypatch.setattr(runner, "train_and_evaluate", train)
    return scaling_study.run(config or studies.tiny_study(), workdir)


def report_of(workdir):
    """The report but for the line that names the command of its last worker."""
    text = (report.write(workdir, workdir / "report").parent / "report.md").read_text()
    return re.sub("Command: .*", "", text)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        content = study(folder, patch)
    assert content["failed"] == {} and content["members"][0]["name"] == "baseline"
    return folder


def test_two_workers_and_a_killed_one_change_nothing(undisturbed, tmp_path, monkeypatch):
    folder = tmp_path / "disturbed"
    workers = [start_worker(folder, seconds=0.5) for _ in range(2)]
    while len(list(folder.glob("runs/*/metrics.jsonl"))) < 3:
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.01)
    workers[0].kill()
    assert [workers[0].wait(), workers[1].wait(timeout=120)] == [-signal.SIGKILL, 0]
    study(folder, monkeypatch, train=pytest.fail)  # which finds nothing left to do
    assert report_of(folder) == report_of(undisturbed)


def test_finished_runs_are_skipped_and_another_study_is_refused(undisturbed, monkeypatch):
    study(undisturbed, monkeypatch, train=pytest.fail)
    config = studies.tiny_study()
    config.study.members.depth.depth = 3.0
    before = (undisturbed / scaling_study.STUDY_FILE).read_text()
    with pytest.raises(UserError, match=r"study.members.depth.depth: 4.0 -> 3.0"):
        study(undisturbed, monkeypatch, config=config)
    assert (undisturbed / scaling_study.STUDY_FILE).read_text() == before


def test_half_of_the_records_and_an_empty_workdir_give_the_same_report(undisturbed, tmp_path, monkeypatch):
    """As on another machine."""
    folders, kept = sorted((undisturbed / "runs").glob("*_seed?")), tmp_path / "results/study/runs"
    for folder in folders[::2]:
        assert records.keep(folder, kept / folder.name)
    trained = names_of_trained(tmp_path / "elsewhere", kept, monkeypatch)
    assert sorted(trained) == [folder.name for folder in folders[1::2]]
    assert report_of(tmp_path / "elsewhere") == report_of(undisturbed)


def test_a_run_that_another_study_has_recorded_is_not_trained_again(undisturbed, tmp_path, monkeypatch):
    results = tmp_path / "results"
    assert records.keep(undisturbed / "runs/width_seed1", results / "of_another_name/runs/wide_seed1")
    assert records.keep(undisturbed / "runs/width_seed0", results / "of_another_name/runs/wide_seed0")
    other = results / "of_another_name/runs/wide_seed0/config.json"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"label_smoothing": 0.0}))  # not the same run
    trained = names_of_trained(tmp_path / "elsewhere", results / "tiny/runs", monkeypatch)
    assert "width_seed1" not in trained and "width_seed0" in trained
    assert report_of(tmp_path / "elsewhere") == report_of(undisturbed)


def names_of_trained(workdir, kept, monkeypatch):
    """Runs the study in an empty folder with these records, and returns the names of what it trained."""
    trained = []

    def train(config, folder, on_validation, **more):
        if not (pathlib.Path(folder) / "results.json").exists():
            trained.append(pathlib.Path(folder).name)
        return studies.pretend(config, folder, on_validation, **more)

    monkeypatch.setattr(runner, "train_and_evaluate", train)
    scaling_study.run(studies.tiny_study(), workdir, records=kept)
    return trained


def test_a_failed_run_is_a_gap_with_its_reason(tmp_path, monkeypatch):
    def train(config, folder, on_validation, **_):
        if config.model.width_multiplier == 0.5:
            raise UserError("the loss became non-finite at step 3")
        return studies.pretend(config, folder, on_validation)

    content = study(tmp_path, monkeypatch, train)
    assert set(content["failed"]) == {"width_seed0", "width_seed1"}
    text = report_of(tmp_path)
    assert "missing: the loss became non-finite at step 3" in text
    assert re.search(r"\| width \|.*\| 0 of 2 \| – \| – \|", text)


def test_refused(tmp_path, monkeypatch):
    for options, message in (({"kind": "families"}, "kind is one of"), ({"seeds": (1, 1)}, "different numbers")):
        config = studies.tiny_study()
        config.study.update(options)
        with pytest.raises(UserError, match=message):
            study(tmp_path, monkeypatch, config=config)
    with pytest.raises(UserError, match="every run failed, the first one so: no"):
        study(tmp_path, monkeypatch, train=failing)


def failing(config, folder, on_validation, **_):
    raise UserError("no")
