"""Many workers, one study: nothing is done twice, nothing is lost, failures are recorded."""

import contextlib
import signal
import time

import optuna
import pytest
import sqlalchemy.exc

from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.process import lock, memory
from effnet_jax.search import queue, runner, storage
from effnet_jax.search.queue import Queue
from effnet_jax.training.stop import StopRequest
from tests import forked
from tests.search import studies


def start_worker(workdir, seconds=0.0, url=""):
    code = f"from tests.search import studies; studies.main({str(workdir)!r}, {url!r}, {seconds})"
    return forked.Process("-c", code, with_jax=True)


def starts(workdir):
    """The processes that started each task."""
    return {
        name: path.read_text().split()
        for name in studies.NAMES
        if (path := workdir / "runs" / f"{name}_seed0/starts").exists()
    }


def run(tmp_path, monkeypatch, train=studies.train, names=studies.NAMES, **options):
    monkeypatch.setattr(runner, "train_and_evaluate", train)
    options = {"description": {"what": "test"}} | options
    return runner.run_study("test", studies.tasks(names), tmp_path, **options)


def summary(outcomes):
    return [(outcome.task.name, outcome.state, outcome.accuracy, outcome.reason) for outcome in outcomes]


EXPECTED = [(f"{name}_seed0", "complete", studies.accuracy(name), "") for name in studies.NAMES]


def test_a_study_needs_images_to_judge_by(tmp_path):
    tasks = studies.tasks("ab")
    tasks[1].config.dataset.validation_examples = 0
    with pytest.raises(UserError, match=r"set dataset.validation_examples above 0"):
        runner.run_study("test", tasks, tmp_path, description={})


def test_a_study_from_start_to_end(tmp_path, monkeypatch, capsys):
    outcomes = run(tmp_path, monkeypatch)
    assert summary(outcomes) == EXPECTED
    assert outcomes[0].results["validation"]["count"] == 100
    assert "test" not in outcomes[0].results, "no study sees the test split"
    assert "6 of 6 done" in capsys.readouterr().out
    study = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.params["letter"] for trial in study.trials] == list(studies.NAMES)
    assert summary(run(tmp_path, monkeypatch, train=pytest.fail)) == EXPECTED, "nothing is trained again"


def test_two_workers_share_one_study_and_do_nothing_twice(tmp_path, monkeypatch):
    workers = [start_worker(tmp_path, seconds=0.6) for _ in range(2)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    by_task = starts(tmp_path)
    assert [len(processes) for processes in by_task.values()] == [1] * len(studies.NAMES)
    assert summary(run(tmp_path, monkeypatch, train=pytest.fail)) == EXPECTED


def test_a_killed_workers_trial_is_taken_up_where_it_was(tmp_path, monkeypatch):
    worker = start_worker(tmp_path, seconds=5.0)
    done = tmp_path / "runs/a_seed0/done"
    while not (done.exists() and len(done.read_text()) >= 2):
        assert worker.poll() is None
        time.sleep(0.01)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert summary(run(tmp_path, monkeypatch)) == EXPECTED
    by_task = starts(tmp_path)
    assert len(by_task["a"]) == 2 and all(len(by_task[name]) == 1 for name in studies.NAMES[1:])
    assert len(done.read_text()) == studies.STEPS, "it went on from its checkpoint"


def test_what_was_interrupted_comes_before_what_nobody_has_begun(tmp_path, monkeypatch):
    """A machine that is lent for minutes would else end with halves of every task."""
    begun = []

    def interrupted_at_first(config, folder, on_validation, **_):
        begun.append(config.name)
        if len(begun) == 2:
            raise RunInterrupted("stopped")
        return studies.train(config, folder, on_validation)

    with pytest.raises(RunInterrupted):
        run(tmp_path, monkeypatch, interrupted_at_first)
    assert summary(run(tmp_path, monkeypatch, interrupted_at_first)) == EXPECTED
    assert begun == ["a", "b", "b", "c", "d", "e", "f"]


@pytest.fixture
def two_queues(tmp_path):
    """Two machines: one database, workdirs of their own."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    url = f"sqlite:///{tmp_path}/shared.db"
    optuna.create_study(study_name="test", storage=storage.open_storage(url, tmp_path), direction="maximize")
    load = lambda: optuna.load_study(study_name="test", storage=storage.open_storage(url, tmp_path))  # noqa: E731
    return [Queue(load(), studies.tasks(("a",)), folder) for folder in folders]


def test_a_silent_worker_elsewhere_is_given_up_and_a_lively_one_is_not(two_queues, monkeypatch):
    here, elsewhere = two_queues
    monkeypatch.setattr(queue, "GRACE_SECONDS", 0.05)

    def free_here():
        time.sleep(0.06)
        with here.claim() as claim:
            return claim is not None

    with contextlib.ExitStack() as theirs:
        claim = theirs.enter_context(elsewhere.claim())
        assert claim is not None and not free_here(), "the first look starts our clock"
        claim.trial.set_user_attr(queue.BEAT, 1)
        assert not free_here(), "it has moved since"
        assert free_here(), "it has not"


def test_a_worker_of_the_same_workdir_that_stands_still_keeps_its_trial(tmp_path, two_queues, monkeypatch):
    """Stopped, swapped out, in a debugger: its lock says that it lives."""
    monkeypatch.setattr(queue, "GRACE_SECONDS", 0.0)
    mine, _ = two_queues
    other = Queue(mine._study, studies.tasks(("a",)), tmp_path / "one")
    with mine.claim() as claim:
        for _ in range(3):
            with other.claim() as second:
                assert claim is not None and second is None
    with other.claim() as again:
        assert again is not None and again.trial.number != claim.trial.number, "let go without a result"


def failing(errors):
    def train(config, folder, on_validation, **_):
        if config.name in errors:
            raise errors[config.name]
        return studies.train(config, folder, on_validation)

    return train


def test_failures_are_recorded_and_the_rest_goes_on(tmp_path, monkeypatch):
    errors = {
        "a": UserError("the loss became non-finite at step 3"),
        "b": memory.TooLittle("this run needs more memory than there is"),
    }
    outcomes = run(tmp_path, monkeypatch, failing(errors), studies.NAMES[:3])
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "complete"]
    assert [outcome.reason for outcome in outcomes[:2]] == list(map(str, errors.values()))
    assert summary(run(tmp_path, monkeypatch, pytest.fail, studies.NAMES[:3])) == summary(outcomes)
    retried = run(tmp_path, monkeypatch, studies.train, studies.NAMES[:3], retry_failed=True)
    assert summary(retried) == EXPECTED[:3]
    assert len(starts(tmp_path)["c"]) == 1


def test_a_run_that_another_process_holds_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    held = [lock.Held("process 7 is training")]

    def train(config, folder, on_validation, **_):
        if held and config.name == "b":
            raise held.pop()
        return studies.train(config, folder, on_validation)

    assert summary(run(tmp_path, monkeypatch, train, ("a", "b"))) == EXPECTED[:2]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), RunInterrupted("stopped")])
def test_what_is_no_failure_of_the_trial_ends_the_worker_and_leaves_the_task(error, tmp_path, monkeypatch):
    with pytest.raises(type(error)):
        run(tmp_path, monkeypatch, failing({"b": error}), ("a", "b"))
    assert summary(run(tmp_path, monkeypatch, names=("a", "b"))) == EXPECTED[:2]
    assert len(starts(tmp_path)["a"]) == 1


def test_a_stop_that_comes_while_a_run_ends_stops_the_study(tmp_path, monkeypatch):
    """As when the last evaluation is running: that run is finished, and no other begun."""

    def told_to_stop_at_its_end(config, folder, on_validation, **_):
        with StopRequest():
            results = studies.train(config, folder, on_validation)
            if config.name == "b":
                signal.raise_signal(signal.SIGTERM)
        return results

    with pytest.raises(RunInterrupted, match="the same command goes on"):
        run(tmp_path, monkeypatch, train=told_to_stop_at_its_end)
    assert list(starts(tmp_path)) == ["a", "b"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert summary(run(tmp_path, monkeypatch)) == EXPECTED
    assert all(len(processes) == 1 for processes in starts(tmp_path).values())


def test_a_stop_that_comes_while_a_run_is_set_up_stops_it(tmp_path, monkeypatch):
    """Between the end of one run and the first step of the next data are loaded and models made."""

    def told_to_stop_at_its_start(config, folder, on_validation, **_):
        signal.raise_signal(signal.SIGTERM)
        with StopRequest() as stop:
            if stop.reached():
                raise RunInterrupted("saved")
        pytest.fail("the run goes on")

    with pytest.raises(RunInterrupted, match="saved"):
        run(tmp_path, monkeypatch, train=told_to_stop_at_its_start)
    assert list(starts(tmp_path)) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with StopRequest() as stop:
        assert not stop.requested, "a new study is not asked to stop"


def test_a_pruner_stops_what_falls_behind(tmp_path, monkeypatch):
    monkeypatch.setitem(
        runner.PRUNERS, "successive_halving",
        lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    )  # fmt: skip
    outcomes = run(tmp_path, monkeypatch, names=("f", "e", "a"), pruner="successive_halving")
    assert [outcome.state for outcome in outcomes] == ["complete", "pruned", "pruned"]
    assert outcomes[2].accuracy is None
    assert len((tmp_path / "runs/a_seed0/done").read_text()) < studies.STEPS
    with pytest.raises(UserError, match="unknown pruner 'median'"):
        run(tmp_path, monkeypatch, pruner="median")


def test_another_study_in_the_same_storage_is_refused(tmp_path, monkeypatch):
    run(tmp_path, monkeypatch, description={"search.step": 0.05, "search.seeds": [0, 1]})
    with pytest.raises(UserError, match=r"another \(search.step: 0.05 -> 0.1\)"):
        run(tmp_path, monkeypatch, description={"search.step": 0.1, "search.seeds": [0, 1]})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////nowhere/at/all.db", "cannot be reached or used"),
        ("not a url", "no database URL"),
        ("postgresql://me:secret@localhost:1/none", r"//localhost:1/none (needs a driver|cannot be reached)"),
    ],
)  # fmt: skip
def test_a_storage_that_cannot_be_had_is_named_at_once(url, message, tmp_path):
    started = time.monotonic()
    with pytest.raises(UserError, match=message) as refused:
        storage.open_storage(url, tmp_path)
    assert time.monotonic() - started < 10
    assert "secret" not in str(refused.value)


def test_a_storage_that_drops_later_is_tried_again(monkeypatch):
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.0)
    failures = [optuna.exceptions.StorageInternalError("away")] * 3

    def action():
        if failures:
            raise failures.pop()
        return "back"

    assert storage.persistent(action) == "back"
    failures += [optuna.exceptions.StorageInternalError("away")] * (storage.RETRIES + 1)
    with pytest.raises(UserError, match="did not come back"):
        storage.persistent(action)


def test_a_server_that_restarts_while_the_storage_is_opened(tmp_path, monkeypatch):
    """The first connection is refused or dropped, the next one is not; a file that is not there stays so."""
    real, failures = optuna.storages.RDBStorage, ["server closed the connection unexpectedly"] * 2

    def restarting(url, **kwargs):
        if failures:
            cause = sqlalchemy.exc.OperationalError("SELECT", None, Exception(failures.pop()))
            raise optuna.exceptions.StorageInternalError("commit") from cause
        return real(f"sqlite:///{tmp_path}/study.db")

    monkeypatch.setattr(optuna.storages, "RDBStorage", restarting)
    assert isinstance(storage.open_storage("postgresql://me@localhost/study", tmp_path), real) and not failures
    monkeypatch.setattr(storage, "OPEN_SECONDS", -1.0)  # a recovery may take longer than that
    failures += ["FATAL:  the database system is starting up"] * 2
    assert isinstance(storage.open_storage("postgresql://me@localhost/study", tmp_path), real) and not failures
    failures += ["no such file"] * 2
    with pytest.raises(UserError, match="no such file"):
        storage.open_storage("", tmp_path)
    assert len(failures) == 1, "tried once"


def test_a_claim_that_got_lost_on_the_way_is_taken_up_soon(tmp_path, monkeypatch):
    """The storage went away between asking for the trial and saying who has it."""
    monkeypatch.setattr(queue, "CLAIM_SECONDS", 0.0)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    claimed, lost = Queue._pop, [True]

    def losing(self):
        if lost:
            lost.clear()
            self._study.ask()
            raise optuna.exceptions.StorageInternalError("away")
        return claimed(self)

    monkeypatch.setattr(Queue, "_pop", losing)
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.0)
    assert summary(run(tmp_path, monkeypatch)) == EXPECTED
    assert all(len(processes) == 1 for processes in starts(tmp_path).values())


def test_an_unwritable_workdir(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the workdir"):
        run(tmp_path / "file/study", monkeypatch)


def test_workers_that_make_the_database_together(tmp_path, monkeypatch):
    """Two of them create the tables at once; the one that comes second must not take that for a broken storage."""
    real, failures = optuna.storages.RDBStorage, 2

    def racing(*args, **kwargs):
        nonlocal failures
        if failures:
            failures -= 1
            raise sqlalchemy.exc.OperationalError("CREATE", None, Exception("table studies already exists"))
        return real(*args, **kwargs)

    monkeypatch.setattr(optuna.storages, "RDBStorage", racing)
    assert isinstance(storage.open_storage("", tmp_path), real) and failures == 0
