"""A scaling study, from a config to runs on disk that `report` reads. Chooses nothing."""

import dataclasses
import pathlib
from typing import Any

import ml_collections

from effnet_jax import config as config_lib
from effnet_jax.errors import UserError
from effnet_jax.process import environment
from effnet_jax.process.atomic import write_json
from effnet_jax.process.lock import locked
from effnet_jax.search.layout import STUDY_FILE
from effnet_jax.search.queue import LOCK, Task, with_seeds
from effnet_jax.search.runner import Outcome, check_seeds, describe, made_workdir, run_study
from effnet_jax.study import members as members_lib
from effnet_jax.study.members import Member
from effnet_jax.training.setup import load_data

STUDY = "scaling_study"
KINDS = ("single_axis", "axes", "family", "tuning")


def run(
    config: ml_collections.ConfigDict,
    workdir: str | pathlib.Path,
    *,
    storage_url: str = "",
    records: pathlib.Path | None = None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Trains every model of a study with every seed, under one recipe and budget.

    Started again, or on more machines with the same storage, it goes on with what is left. Finished runs are
    never repeated.

    Args:
      config: see configs/study_single_axis.py.
      workdir: for the runs and `study.json`, which says what belongs to the study.
      storage_url: an Optuna storage that several machines share; empty for SQLite in the workdir.
      records: folder of records of finished runs, which are not trained again; see `run_study`.
      retry_failed: try again what failed in earlier starts.

    Returns:
      What `study.json` holds.

    Raises:
      UserError: the config, the storage or the workdir will not do, or not one run finished.
      RunInterrupted: SIGTERM or Ctrl-C.
    """
    config_lib.check_finite(config)
    config_lib.check(config.train)
    if config.study.kind not in KINDS:
        raise UserError(f"config.study.kind is one of {', '.join(KINDS)}, not {config.study.kind!r}")
    check_seeds("study", config.study.seeds)
    found = members_lib.members(config.study, config.train)
    load_data(config.train)  # what is wrong with the data would be wrong for every run
    workdir = made_workdir(pathlib.Path(workdir))
    outcomes = run_study(
        STUDY,
        tasks(config, found),
        workdir,
        description=describe("study", config.study, config.train),
        storage_url=storage_url,
        records=records,
        retry_failed=retry_failed,
        on_change=lambda outcomes: _write(workdir, _content(config, found, outcomes)),
    )
    if all(outcome.state == "failed" for outcome in outcomes):
        raise UserError(f"every run failed, the first one so: {outcomes[0].reason}; --retry_failed starts them again")
    return _content(config, found, outcomes)


def tasks(config: ml_collections.ConfigDict, found: list[Member]) -> list[Task]:
    """Returns the runs of the study: every member with each of its seeds."""
    listed = with_seeds(
        [Task(member.name, {"member": member.name}, members_lib.scaled(config.train, member)) for member in found],
        config.study.seeds,
    )
    seeds = {member.name: member.seeds for member in found}
    return [task for task in listed if task.params["seed"] in seeds[task.params["member"]]]


def _content(config: ml_collections.ConfigDict, found: list[Member], outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "kind": config.study.kind,
        "model": config.train.model.name,
        "dataset": config.train.dataset.name,
        "seeds": list(config.study.seeds),
        "members": [dataclasses.asdict(member) for member in found],
        "failed": {outcome.task.name: outcome.reason for outcome in outcomes if outcome.state == "failed"},
        "command": environment.command(),
    }


def _write(workdir: pathlib.Path, content: dict[str, Any]) -> None:
    with locked(workdir / LOCK):  # workers that start or end together write the same
        write_json(workdir / STUDY_FILE, content)
