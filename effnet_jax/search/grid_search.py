"""Grid search for the compound coefficients (paper section 3.3), from a config to a ranking on disk."""

import dataclasses
import pathlib
from typing import Any

import ml_collections

from effnet_jax import config as config_lib
from effnet_jax.errors import UserError
from effnet_jax.process import environment
from effnet_jax.search import candidates as candidates_lib
from effnet_jax.search import ranking, report
from effnet_jax.search.candidates import Candidate
from effnet_jax.search.layout import run_name
from effnet_jax.search.queue import Task, with_seeds
from effnet_jax.search.runner import Outcome, check_seeds, describe, made_workdir, run_study
from effnet_jax.training.setup import load_data

STUDY = "grid_search"


def search(
    config: ml_collections.ConfigDict,
    workdir: str | pathlib.Path,
    *,
    storage_url: str = "",
    records: pathlib.Path | None = None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Trains every candidate with every seed and ranks them by validation accuracy.

    Started again, or on more machines with the same storage, it goes on with what is left. The report in the workdir
    is that of the trials done so far.

    Args:
      config: see configs/grid_search.py.
      workdir: for the runs and the report.
      storage_url: an Optuna storage that several machines share; empty for SQLite in the workdir.
      records: folder of records of finished runs, which are not trained again; see `run_study`.
      retry_failed: try again what failed in earlier starts.

    Returns:
      What `grid_search.json` holds.

    Raises:
      UserError: the config, the storage or the workdir will not do, or not one trial finished.
      RunInterrupted: SIGTERM or Ctrl-C.
    """
    config_lib.check_finite(config)
    config_lib.check(config.train)
    check_seeds("search", config.search.seeds)
    found = candidates_lib.candidates(config.search, config.train)
    load_data(config.train)  # what is wrong with the data would be wrong for every trial
    workdir = made_workdir(pathlib.Path(workdir))
    outcomes = run_study(
        STUDY,
        tasks(config, found),
        workdir,
        description=describe("search", config.search, config.train),
        storage_url=storage_url,
        records=records,
        pruner=config.search.pruner,
        retry_failed=retry_failed,
        on_change=lambda outcomes: report.write(workdir, _results(config, found, outcomes), outcomes),
    )
    if all(outcome.state == "failed" for outcome in outcomes):
        raise UserError(f"every trial failed, the first one so: {outcomes[0].reason}; --retry_failed starts them again")
    return _results(config, found, outcomes)


def tasks(config: ml_collections.ConfigDict, found: list[Candidate]) -> list[Task]:
    """Returns the runs of the search: every candidate with every seed."""
    return with_seeds(
        [
            Task(
                candidate.name,
                dict(zip(("alpha", "beta", "gamma"), candidate.coefficients)),
                candidates_lib.scaled(config.train, candidate),
            )
            for candidate in found
        ],
        config.search.seeds,
    )


def _results(config: ml_collections.ConfigDict, found: list[Candidate], outcomes: list[Outcome]) -> dict[str, Any]:
    by_task = {outcome.task.name: outcome for outcome in outcomes}
    seeds = list(config.search.seeds)
    accuracies = {
        candidate.name: [by_task[run_name(candidate.name, seed)].accuracy for seed in seeds] for candidate in found
    }
    finished = [outcome.results for outcome in outcomes if outcome.results]
    count = int(finished[0]["validation"]["count"]) if finished else 0
    ranked = ranking.rank(accuracies, count)
    by_name = {candidate.name: candidate for candidate in found}
    complete = [row for row in ranked if row.rank is not None]
    chosen = by_name[complete[0].name] if complete else None
    keys = ("alpha", "beta", "gamma", "depth_multiplier", "width_multiplier", "resolution")
    return {
        "model": config.train.model.name,
        "dataset": config.train.dataset.name,
        "constraint": {key: config.search[key] for key in ("constraint", "target", "tolerance", "step", "phi")},
        "n": {"candidates": len(found), "seeds": seeds, "validation_images": count},
        "chosen": {key: getattr(chosen, key) for key in keys} if chosen else None,
        "chosen_among_equals": sum(row.within_noise for row in complete),
        "ranking": [dataclasses.asdict(by_name[row.name]) | dataclasses.asdict(row) for row in ranked],
        "unfinished": [o.task.name for o in outcomes if o.state == "unfinished"],
        "failed": {o.task.name: o.reason for o in outcomes if o.state == "failed"},
        "pruned": [o.task.name for o in outcomes if o.state == "pruned"],
        "steps": sorted({run["steps"] for run in finished}),
        "wall_seconds": round(sum(run["wall_seconds"] for run in finished), 1),
        "hardware": sorted({str(run["hardware"]) for run in finished}),
        "commits": sorted({str(run["commit"]) for run in finished}),
        "command": environment.command(),
    }
