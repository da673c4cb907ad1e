"""Which run is next: the tasks of a study as an Optuna queue that many workers share and that survives them."""

import contextlib
import copy
import dataclasses
import pathlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence

import ml_collections
import optuna
from optuna.trial import FrozenTrial, TrialState

from effnet_jax.process import lock as lock_lib
from effnet_jax.process.lock import locked
from effnet_jax.search.layout import RUNS, run_name

BEAT_SECONDS = 20.0
GRACE_SECONDS = 120.0  # a worker elsewhere that has been silent for so long is taken for dead
CLAIM_SECONDS = 10.0  # and one that has not said for so long where it works: its claim got lost on the way
TASK, REASON, WORKDIR, BEAT = "task", "reason", "workdir", "beat"  # attributes of a trial
LOCK = "queue.lock"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclasses.dataclass(frozen=True)
class Task:
    """One training run of a study.

    Attributes:
      name: unique in the study; the run's folder under `runs` of the workdir.
      params: what distinguishes it, shown as the trial's parameters.
      config: of the run.
    """

    name: str
    params: dict[str, float | int | str]
    config: ml_collections.ConfigDict


def with_seeds(tasks: Sequence[Task], seeds: Sequence[int]) -> list[Task]:
    """Repeats each task with every seed, seed by seed: an early stop leaves whole seeds behind."""
    listed = []
    for seed in seeds:
        for task in tasks:
            config = copy.deepcopy(task.config)
            config.seed = seed
            listed.append(Task(run_name(task.name, seed), {**task.params, "seed": seed}, config))
    return listed


@dataclasses.dataclass(frozen=True)
class Claim:
    """A task that this worker, and no other, is to run."""

    task: Task
    trial: optuna.Trial
    folder: pathlib.Path


class Queue:
    """The tasks of one study, as one worker sees them.

    A trial whose worker died is failed without a reason, and its task is queued again; the run in the task's
    folder then goes on from its checkpoint. Whether a worker is alive is told by the lock it holds on the
    folder, where workdir and machine are the same, and by its heartbeat where they are not.
    """

    def __init__(self, study: optuna.Study, tasks: Sequence[Task], workdir: pathlib.Path, retry_failed: bool = False):
        self._study, self._workdir = study, workdir
        self._tasks = {task.name: task for task in tasks}
        self._choices = {
            key: sorted({task.params[key] for task in tasks}) for key in (tasks[0].params if tasks else ())
        }
        self._identity = _identity(workdir)
        self._beats: dict[int, tuple[int, float]] = {}  # trial -> its last beat and when we first saw that
        self._retried = len(study.get_trials(deepcopy=False)) if retry_failed else 0

    @contextlib.contextmanager
    def claim(self) -> Iterator[Claim | None]:
        """Gives a task to run, or None where none is free at the moment."""
        with locked(self._workdir / LOCK):
            self._drop_the_dead()
            self._fill()
            claim, lock = self._pop()
        if claim is None:
            yield None
            return
        with contextlib.closing(lock), _heartbeat(claim.trial):
            yield claim

    def latest(self) -> dict[str, FrozenTrial]:
        """Returns the trial that counts of each task: the first that is done, else the last one."""
        latest: dict[str, FrozenTrial] = {}
        for trial in self._study.get_trials(deepcopy=False):
            name = trial.user_attrs.get(TASK)
            if name in self._tasks and (name not in latest or latest[name].state not in _DONE):
                latest[name] = trial
        return {name: latest[name] for name in self._tasks if name in latest}

    def finished(self) -> bool:
        return self.count_done() == len(self._tasks)

    def count_done(self) -> int:
        """Returns how many tasks are complete, pruned or failed for good."""
        return sum(map(self.is_final, self.latest().values()))

    def is_final(self, trial: FrozenTrial) -> bool:
        """Whether nothing is left to do for the task of this trial."""
        failed = trial.state == TrialState.FAIL and REASON in trial.user_attrs and trial.number >= self._retried
        return trial.state in _DONE or failed

    def _fill(self) -> None:
        """Queues one task if none waits: what was interrupted before what nobody has begun."""
        latest = self.latest()
        if any(trial.state == TrialState.WAITING for trial in latest.values()):
            return
        interrupted = [
            name for name, trial in latest.items() if trial.state == TrialState.FAIL and not self.is_final(trial)
        ]
        unbegun = [name for name in self._tasks if name not in latest]
        for name in [*interrupted, *unbegun][:1]:
            self._study.enqueue_trial(self._tasks[name].params, user_attrs={TASK: name})

    def _pop(self) -> tuple[Claim | None, lock_lib.Lock | None]:
        nothing = None, None
        if not any(trial.state == TrialState.WAITING for trial in self._study.get_trials(deepcopy=False)):
            return nothing
        trial = self._study.ask()
        name = trial.user_attrs.get(TASK)
        others = [
            other.state
            for other in self._study.get_trials(deepcopy=False)
            if other.user_attrs.get(TASK) == name and other.number < trial.number
        ]
        # Two machines may fill the queue at the same moment, or one empty it between our look and our asking.
        if name not in self._tasks or TrialState.RUNNING in others or any(state in _DONE for state in others):
            self._fail(trial.number)
            return nothing
        folder = self._workdir / RUNS / name
        lock = lock_lib.take(_lock_file(folder))
        if lock is None:
            self._fail(trial.number)
            return nothing
        try:
            trial.set_user_attr(WORKDIR, self._identity)
            for key, choices in self._choices.items():
                trial.suggest_categorical(key, choices)
        except optuna.exceptions.UpdateFinishedTrialError:  # another worker found the claim too slow
            lock.close()
            return nothing
        return Claim(self._tasks[name], trial, folder), lock

    def _drop_the_dead(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            dead = None
            if trial.user_attrs.get(WORKDIR) == self._identity:
                dead = lock_lib.is_free(_lock_file(self._workdir / RUNS / trial.user_attrs[TASK]))
            if self._is_silent(trial) if dead is None else dead:
                self._fail(trial.number)

    def _is_silent(self, trial: FrozenTrial) -> bool:
        """Judged by our own clock alone: machines disagree about the time."""
        claimed = WORKDIR in trial.user_attrs
        beat, now = trial.user_attrs.get(BEAT, 0) if claimed else -1, time.monotonic()
        seen, since = self._beats.get(trial.number, (None, now))
        if seen != beat:
            self._beats[trial.number] = (beat, now)
            return False
        return now - since > (GRACE_SECONDS if claimed else CLAIM_SECONDS)

    def _fail(self, number: int) -> None:
        with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another was first
            self._study.tell(number, state=TrialState.FAIL)


@contextlib.contextmanager
def _heartbeat(trial: optuna.Trial) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(BEAT_SECONDS):
            count += 1
            # A storage that is away will be there at one of the next beats.
            with contextlib.suppress(Exception):
                trial.set_user_attr(BEAT, count)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _identity(workdir: pathlib.Path) -> str:
    """Returns what tells this folder from the workdirs of other machines."""
    with locked(workdir / LOCK):
        path = workdir / "workdir_id"
        if not path.exists():
            path.write_text(uuid.uuid4().hex)
        return path.read_text()


def _lock_file(folder: pathlib.Path) -> pathlib.Path:
    return folder.with_name(folder.name + ".lock")
