"""One worker of a study: takes task after task, trains it, records what became of it."""

import dataclasses
import gc
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ml_collections
import optuna
from optuna.trial import FrozenTrial, TrialState

from effnet_jax import config as config_lib
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.process import environment
from effnet_jax.process.lock import Held, locked
from effnet_jax.search import forecast
from effnet_jax.search.layout import RUNS
from effnet_jax.search.queue import LOCK, REASON, Claim, Queue, Task
from effnet_jax.search.storage import open_storage, persistent
from effnet_jax.training import records as records_lib
from effnet_jax.training.loop import train_and_evaluate
from effnet_jax.training.stop import StopRequest

POLL_SECONDS = 2.0  # between looks while other workers have the rest
DESCRIPTION, RESULTS = "description", "results"
PRUNERS = {"": optuna.pruners.NopPruner, "successive_halving": optuna.pruners.SuccessiveHalvingPruner}
# What a trial keeps of results.json: nothing of the test split, which no study may choose by.
_KEPT = (
    "num_parameters", "macs", "steps", "selected_step", "selected_weights", "wall_seconds", "hardware", "commit",
    "command",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
      task: which.
      state: "complete", "pruned", "failed", or "unfinished" while it waits or runs.
      accuracy: of the selected weights on the validation split; None unless complete.
      reason: why it failed, or an empty string.
      results: of a complete run: its validation figures and parts of its results.json.
    """

    task: Task
    state: str
    accuracy: float | None
    reason: str
    results: dict[str, Any]


def run_study(
    name: str,
    tasks: Sequence[Task],
    workdir: pathlib.Path,
    *,
    description: dict[str, Any],
    storage_url: str = "",
    records: pathlib.Path | None = None,
    pruner: str = "",
    retry_failed: bool = False,
    on_change: Callable[[list[Outcome]], None] = lambda outcomes: None,
) -> list[Outcome]:
    """Works on a study until every task of it is done, here or by other workers.

    Args:
      name: of the study in the storage.
      tasks: all of them; every worker gives the same.
      workdir: for the runs, and the database unless `storage_url` names another.
      description: flat {key: value} of what makes the tasks what they are; a study of another is refused.
      storage_url: see `storage.open_storage`.
      records: folder of records, one folder a task. A task with a record is done; a task that gets done leaves one.
      pruner: one of `PRUNERS`.
      retry_failed: try again what failed in earlier starts.
      on_change: called with the outcomes so far, in the order of `tasks`: once the study is known to be this one, and
        whenever this worker has done a task.

    Returns:
      The outcomes, in the order of `tasks`.

    Raises:
      UserError: the storage cannot be used, the study in it is another, or a task holds out no image to be judged by.
      RunInterrupted: SIGTERM or Ctrl-C; the run at hand has been saved, or finished where it was at its end.
    """
    if pruner not in PRUNERS:
        raise UserError(f"unknown pruner {pruner!r}; choose from {', '.join(map(repr, PRUNERS))}")
    if not all(task.config.dataset.validation_examples for task in tasks):
        raise UserError("a study compares models on validation images: set dataset.validation_examples above 0")
    workdir = made_workdir(workdir)
    if records is not None:
        _take_records(records, tasks, workdir)
    storage = open_storage(storage_url, workdir)
    study = persistent(
        lambda: optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True, pruner=PRUNERS[pruner](),
            sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: the queue holds the whole grid
        )
    )  # fmt: skip
    _check_description(study, description)
    queue = persistent(lambda: Queue(study, tasks, workdir, retry_failed))
    on_change(_outcomes(queue, tasks))
    print(f"study     {name}: {persistent(queue.count_done)} of {len(tasks)} done", flush=True)
    costs = {task.name: forecast.cost(task.config) for task in tasks}
    first_steps = _first_steps(queue, costs, workdir)
    with StopRequest() as stop:
        while not persistent(queue.finished):
            if stop.requested:
                raise RunInterrupted(
                    f"stopped with what is done saved in {workdir}; the same command goes on from there"
                )
            with _claimed(queue) as claim:
                if claim is not None:
                    if not (recorded := (claim.folder / records_lib.RESULTS).exists()):
                        print(f"trial     {claim.task.name}: {claim.folder}", flush=True)
                    _run(study, claim, first_steps)
                    if records is not None and (claim.folder / records_lib.RESULTS).exists():
                        records_lib.keep(claim.folder, records / claim.task.name)
                    gc.collect()  # a run's compiled programs and data are in cycles, and the next run wants the memory
            if claim is None:
                time.sleep(POLL_SECONDS)
            else:
                _tell_progress(queue, claim.task.name, costs, workdir, recorded)
                on_change(_outcomes(queue, tasks))
    outcomes = _outcomes(queue, tasks)
    on_change(outcomes)  # other workers may have had the last tasks
    return outcomes


def _take_records(records: pathlib.Path, tasks: Sequence[Task], workdir: pathlib.Path) -> None:
    others = 0
    with locked(workdir / LOCK):  # workers of the same workdir take them one after the other
        for task in tasks:
            changed = records_lib.take(records / task.name, task.config, workdir / RUNS / task.name)
            if changed and not others:
                print(records_lib.not_taken(records / task.name, changed))
            others += bool(changed)
    if others:
        print(f"records   {others} of other configs in {records}; these runs are trained anew and leave no record")


class _claimed:
    """`queue.claim()` that outlasts a storage that is away for a while."""

    def __init__(self, queue: Queue):
        self._queue = queue

    def __enter__(self) -> Claim | None:
        def enter() -> Claim | None:
            self._context = self._queue.claim()
            return self._context.__enter__()

        return persistent(enter)

    def __exit__(self, *error: Any) -> Any:
        return self._context.__exit__(*error)


def _first_steps(queue: Queue, costs: dict[str, int], workdir: pathlib.Path) -> Callable[[str, float], None]:
    """Returns what says, once, how long the whole study takes at the speed of a run's first steps."""
    said = []

    def tell(name: str, seconds: float) -> None:
        if said:
            return
        said.append(name)
        left = _to_train(_left(queue, persistent(queue.latest), costs), workdir)
        whole = forecast.in_words(forecast.seconds_left(costs, {name: seconds}, left))
        print(f"forecast  {whole} for the {len(left)} runs left, by the first steps of this one", flush=True)

    return tell


def _run(study: optuna.Study, claim: Claim, first_steps: Callable[[str, float], None]) -> None:
    """Trains one task; a trial that fails in a way of its own is recorded and the study goes on."""
    try:
        results = train_and_evaluate(
            claim.task.config,
            claim.folder,
            on_training=lambda seconds: first_steps(claim.task.name, seconds),
            on_validation=_reporter(claim),
        )
    except optuna.TrialPruned:
        persistent(lambda: study.tell(claim.trial, state=TrialState.PRUNED, skip_if_finished=True))
    except Held:  # by somebody's train.py, or a worker that has lost touch with the storage: to be tried again
        persistent(lambda: study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True))
        time.sleep(POLL_SECONDS)
    except UserError as error:  # too little memory is one
        reason = str(error)
        persistent(lambda: claim.trial.set_user_attr(REASON, reason))
        persistent(lambda: study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True))
    else:
        prefix = "ema_" if results["selected_weights"] == "ema" else ""
        kept = {key: results[key] for key in _KEPT} | {"validation": results["validation"]}
        persistent(lambda: claim.trial.set_user_attr(RESULTS, kept))
        accuracy = results["validation"][prefix + "accuracy"]
        persistent(lambda: study.tell(claim.trial, accuracy, skip_if_finished=True))


def _reporter(claim: Claim) -> Callable[[int, float], None]:
    """Returns what tells the pruner of each validation, those before a resumption included."""
    trial, reported = claim.trial, set()

    def tell(step: int, accuracy: float) -> None:
        if step not in reported:  # a resumed run repeats what came after its checkpoint
            reported.add(step)
            persistent(lambda: trial.report(accuracy, step))

    def report(step: int, accuracy: float) -> None:
        tell(step, accuracy)
        if persistent(trial.should_prune):
            raise optuna.TrialPruned

    metrics = claim.folder / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        record = json.loads(line)
        if record["split"] == "validation":
            tell(record["step"], max(record["accuracy"], record.get("ema_accuracy", 0.0)))
    return report


def _check_description(study: optuna.Study, description: dict[str, Any]) -> None:
    stored = persistent(lambda: study.user_attrs).get(DESCRIPTION)
    if stored is None:
        persistent(lambda: study.set_user_attr(DESCRIPTION, description))
        return
    changed = config_lib.changed_between(stored, description)
    if changed:
        raise UserError(
            f"the study {study.study_name!r} in this storage is another ({'; '.join(changed[:6])}); give another "
            "--workdir, or another --storage"
        )


def describe(section: str, options: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns what makes a study what it is; where the data lie is no part of it, as for a run."""
    own = {f"{section}.{key}": value for key, value in config_lib.flatten(options).items()}
    recipe = config_lib.flatten(train)
    return own | {f"train.{key}": recipe[key] for key in recipe if key not in config_lib.LOCATION_KEYS}


def check_seeds(section: str, seeds: Sequence[int]) -> None:
    """Raises a `UserError` unless there are seeds, each once."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"config.{section}.seeds must be different numbers, got {tuple(seeds)}")


def made_workdir(workdir: pathlib.Path) -> pathlib.Path:
    """Makes the folder of a study and returns its absolute path.

    Raises:
      UserError: it cannot be written.
    """
    workdir = workdir.expanduser().absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / LOCK).touch()
    except OSError as error:
        raise UserError(f"cannot write to the workdir {workdir} ({error.strerror}); choose another") from error
    return workdir


def _outcomes(queue: Queue, tasks: Sequence[Task]) -> list[Outcome]:
    latest = persistent(queue.latest)
    return [_outcome(task, latest.get(task.name), queue) for task in tasks]


def _outcome(task: Task, trial: FrozenTrial | None, queue: Queue) -> Outcome:
    if trial is None or not queue.is_final(trial):
        return Outcome(task, "unfinished", None, "", {})
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    attributes = trial.user_attrs
    accuracy = trial.value if state == "complete" else None
    return Outcome(task, state, accuracy, attributes.get(REASON, ""), attributes.get(RESULTS, {}))


def _left(queue: Queue, latest: dict[str, FrozenTrial], names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in latest or not queue.is_final(latest[name])]


def _to_train(names: Iterable[str], workdir: pathlib.Path) -> list[str]:
    """Returns those that take time: the others have their results here, by a record, and are to be read alone."""
    return [name for name in names if not (workdir / RUNS / name / records_lib.RESULTS).exists()]


def _tell_progress(queue: Queue, name: str, costs: dict[str, int], workdir: pathlib.Path, recorded: bool) -> None:
    """Says how the last task ended, how many are done and, by the runs on such a machine, when the rest may be."""
    latest = persistent(queue.latest)
    mine, states = latest[name], [trial.state for trial in latest.values()]
    ended = f"validation accuracy {mine.value:.4f}" if mine.state == TrialState.COMPLETE else mine.state.name.lower()
    if recorded:
        ended += ", by its record"
    if mine.state == TrialState.FAIL:
        ended = f"failed: {mine.user_attrs.get(REASON, 'taken over by another worker')}"
    left = _left(queue, latest, costs)
    to_train = _to_train(left, workdir)
    kept = {task: trial.user_attrs[RESULTS] for task, trial in latest.items() if RESULTS in trial.user_attrs}
    seconds = {task: own["wall_seconds"] for task, own in kept.items() if own["hardware"] == environment.hardware()}
    eta = ""
    if seconds and to_train:
        workers = 1 + sum(state == TrialState.RUNNING for state in states)
        time_left = forecast.in_words(forecast.seconds_left(costs, seconds, to_train) / workers)
        eta = f", about {time_left} left with {workers} worker{'s' if workers > 1 else ''}"
    print(f"trial     {name}: {ended}; {len(costs) - len(left)} of {len(costs)} done{eta}", flush=True)
