"""All that results/ shows, as one queue: what is done, what is left, how long that takes, and going on with it."""

import dataclasses
import importlib
import json
import pathlib
from collections.abc import Iterator

import ml_collections

from effnet_jax import report
from effnet_jax.data.sets import registry
from effnet_jax.report import overview
from effnet_jax.search import candidates, forecast, grid_search
from effnet_jax.search.layout import RUNS
from effnet_jax.search.queue import Task, with_seeds
from effnet_jax.study import members, scaling_study
from effnet_jax.training import records
from effnet_jax.training.loop import train_and_evaluate

RECIPES = "recipes"  # folder of the runs that belong to no study


@dataclasses.dataclass(frozen=True)
class Item:
    """A run with its seeds, a search or a study.

    Attributes:
      name: of its file in configs/.
      kind: "run", "search" or "study".
      config: what that file gives.
      tasks: its runs.
      folder: of its results; the records are in its subfolder `runs`.
    """

    name: str
    kind: str
    config: ml_collections.ConfigDict
    tasks: tuple[Task, ...]
    folder: pathlib.Path

    def finished(self) -> dict[str, dict]:
        """Returns what results.json of each record holds, by the run's name; those of other configs are none."""
        found = {}
        for task in self.tasks:
            if record := records.find(self.folder / RUNS / task.name, task.config):
                found[task.name] = json.loads((record / records.RESULTS).read_text())
        return found


def items(queue: ml_collections.ConfigDict, results: pathlib.Path) -> list[Item]:
    """Lists what configs/results.py names, in order of worth."""
    runs = [_item(name, results / RECIPES, seeds) for name, seeds in queue.runs]
    return runs + [_item(name, results / name) for name in queue.studies]


def status(listed: list[Item], hardware: str) -> str:
    """Returns a table of what is done and what is left, and how long that takes on this hardware.

    By the runs that ended on it: seconds for each multiply-add and image. Without one nothing is said.
    """
    done = {item.name: item.finished() for item in listed}
    here = [
        (found["wall_seconds"], found["macs"] * found["steps"] * task.config.batch_size)
        for item in listed
        for task in item.tasks
        if (found := done[item.name].get(task.name)) and found["hardware"] == hardware
    ]
    rate = sum(seconds for seconds, _ in here) / sum(work for _, work in here) if here else None
    lines, total = [], 0.0
    for item in listed:
        left = [task for task in item.tasks if task.name not in done[item.name]]
        seconds = (rate or 0.0) * sum(map(_work, left))
        total += seconds
        needs = f"  {forecast.in_words(seconds)} left" if rate and left else ""
        lines.append(f"{item.name:<24} {len(item.tasks) - len(left):3d} of {len(item.tasks):3d} runs done{needs}")
    if rate:
        lines.append(f"in all {forecast.in_words(total)} on {hardware}, by the {len(here)} runs that ended on it")
    else:
        lines.append(f"how long that takes on {hardware} is not known before a run has ended on it")
    return "\n".join(lines)


def go_on(listed: list[Item], workdir: pathlib.Path, results: pathlib.Path) -> Iterator[Item]:
    """Does whatever is not done, in order, writes reports and pictures again, and yields each item once it is done.

    Args:
      listed: see `items`.
      workdir: folder of the runs.
      results: folder of the records and reports.

    Raises:
      UserError: a config, the data or the workdir will not do.
      RunInterrupted: SIGTERM or Ctrl-C; the same call goes on from there.
    """
    for item in listed:
        if item.kind == "run":
            for task in item.tasks:
                folder, record = workdir / task.name, item.folder / RUNS / task.name
                changed = records.take(record, task.config, folder)
                if changed:
                    print(records.not_taken(record, changed))
                train_and_evaluate(task.config, folder)
                records.keep(folder, record)
        else:
            start = grid_search.search if item.kind == "search" else scaling_study.run
            start(item.config, workdir / item.name, records=item.folder / RUNS)
            report.write(workdir / item.name, item.folder)
        overview.write(results)
        yield item


def _item(name: str, folder: pathlib.Path, seeds: int = 1) -> Item:
    config = importlib.import_module(f"configs.{name}").get_config()
    if "search" in config:
        found = candidates.candidates(config.search, config.train)
        return Item(name, "search", config, tuple(grid_search.tasks(config, found)), folder)
    if "study" in config:
        found = members.members(config.study, config.train)
        return Item(name, "study", config, tuple(scaling_study.tasks(config, found)), folder)
    return Item(name, "run", config, tuple(with_seeds([Task(name, {}, config)], range(seeds))), folder)


def _work(task: Task) -> int:
    """Multiply-adds of a run, forward alone, over all its images."""
    config = task.config
    images = registry.info(config.dataset.name).split_sizes["train"] - config.dataset.validation_examples
    steps = config.num_train_steps or config.num_epochs * (images // config.batch_size)
    return forecast.cost(config) * steps * config.batch_size
