"""What a folder of runs holds: models over their seeds, in the order of the study."""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from effnet_jax.architecture import baselines, catalog
from effnet_jax.config import changed_between
from effnet_jax.errors import UserError
from effnet_jax.report.runs import Run, read_run, read_runs
from effnet_jax.search.layout import RUNS, SEARCH_FILE, STUDY_FILE, run_name
from effnet_jax.search.ranking import estimate

MAX_NAMED = 4
LEARNING_RATE = "optimizer.learning_rate"
STUDIES = {
    "single_axis": "One axis against compound scaling",
    "axes": "Scaling one axis at a time",
    "family": "The family and its baselines",
    "tuning": "Resolution and learning rate of each network",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """One model over its seeds.

    Attributes:
      name: unique in the report.
      axis: see `study.members.Member`; "model" where no study says.
      model: of the catalog.
      scales: depth, width and resolution multipliers on the study's baseline.
      matched_to: the group whose MACs it was made to have, or an empty string.
      pixels: side of the input.
      macs, parameters: of the model.
      runs: the finished ones, by seed.
      missing: why a seed is not among them, by seed.
    """

    name: str
    axis: str
    model: str
    scales: tuple[float, float, float]
    matched_to: str
    pixels: int
    macs: int
    parameters: int
    runs: tuple[Run, ...]
    missing: dict[int, str]

    def accuracy(self, split: str, figure: str = "accuracy") -> tuple[float, float] | None:
        """Mean in percent and its standard error; None where no run is finished, or none has such a split or figure."""
        if not self.runs or figure not in self.runs[0].results.get(split, ()):
            return None
        values = [run.accuracy(split, figure) for run in self.runs]
        mean, error = estimate(values, int(self.runs[0].results[split]["count"]))
        return 100 * mean, 100 * error

    def training_accuracy(self, figure: str = "accuracy") -> float | None:
        """Mean in percent of what the runs logged last of their training; None where one has logged no such figure."""
        values = [run.training_accuracy(figure) for run in self.runs]
        return None if not values or None in values else 100 * statistics.fmean(values)

    @property
    def multipliers(self) -> tuple[float, float]:
        """Of depth and width, on the published model; those on the study's baseline where no run is finished."""
        if not self.runs:
            return self.scales[:2]
        config = self.runs[0].config
        return config["model.depth_multiplier"], config["model.width_multiplier"]

    @property
    def is_published(self) -> bool:
        """Whether it is a model of the paper, neither narrowed nor deepened."""
        return self.multipliers == (1.0, 1.0)

    @property
    def channels(self) -> tuple[int, int] | None:
        """Of the stem and of the last map; None where no run is finished."""
        if not self.runs:
            return None
        config = self.runs[0].config
        arch = catalog.architecture(
            self.model, config["model.width_multiplier"], config["model.depth_multiplier"], config["model.stem_stride"],
            config["model.stage_strides"],
        )  # fmt: skip
        stem, *_, head, _ = arch.count(self.pixels, config["model.num_classes"]).layers
        return stem.output_filters, head.output_filters

    @property
    def learning_rates(self) -> list[float]:
        """The peaks of the runs' schedules, each once."""
        return sorted({run.config[LEARNING_RATE] for run in self.runs})

    @property
    def training_minutes(self) -> float | None:
        """Measured time of the training steps, the mean over the runs."""
        seconds = [run.training_seconds for run in self.runs if run.training_seconds is not None]
        return sum(seconds) / len(seconds) / 60 if seconds else None


@dataclasses.dataclass(frozen=True)
class Collection:
    """Everything a report is made of.

    Attributes:
      kind: "single_axis", "axes", "family", "tuning", "grid_search" or "runs".
      title: of the report.
      command: that started the study; empty for plain runs.
      groups: the models.
      search: what grid_search.json holds, for that kind.
    """

    kind: str
    title: str
    command: str
    groups: tuple[Group, ...]
    search: dict[str, Any] | None = None

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def baseline(self) -> str:
        """What all were scaled from, where that is smaller than the model; empty for whole models."""
        for group in self.groups:
            if group.runs and group.model not in baselines.NAMES:
                depth, width = (multiplier / scale for multiplier, scale in zip(group.multipliers, group.scales))
                if min(depth, width) < 0.995:
                    return f"baseline: {group.model} with {width:.3g} of its width and {depth:.3g} of its depth"
        return ""

    @property
    def reductions(self) -> list[str]:
        """In what the runs are less than full ones, each once; empty for a full report."""
        return list(dict.fromkeys(reduction for run in self.runs for reduction in run.reductions()))


def read(folder: pathlib.Path) -> Collection:
    """Reads a study, a grid search, a folder of runs or a single run.

    Raises:
      UserError: there are no finished runs, or what is there does not belong into one report.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the --workdir of a study, of a search or of runs")
    if (folder / STUDY_FILE).exists():
        found = _study(folder)
    elif (folder / SEARCH_FILE).exists():
        found = _search(folder)
    else:
        found = _plain(folder)
    if not found.runs:
        raise UserError(f"no run in {folder} is finished; the command that started them goes on with them")
    _check_one_recipe(folder, found)
    return found


def _study(folder: pathlib.Path) -> Collection:
    study = _json(folder / STUDY_FILE)
    by_name = {run.name: run for run in read_runs(folder / RUNS)}
    groups = []
    for member in study["members"]:
        names = {seed: run_name(member["name"], seed) for seed in member.get("seeds", study["seeds"])}
        groups.append(
            _group(
                member["name"], member["axis"], member["model"],
                (member["depth"], member["width"], member["resolution"]), member["matched_to"],
                member["pixels"], member["macs"], member["parameters"],
                {seed: by_name.pop(name, None) for seed, name in names.items()},
                {seed: study["failed"][name] for seed, name in names.items() if name in study["failed"]},
            )
        )  # fmt: skip
    _refuse_strangers(folder, by_name)
    title = f"{STUDIES[study['kind']]}: {study['model']} on {study['dataset']}"
    return Collection(study["kind"], title, study["command"], tuple(groups))


def _search(folder: pathlib.Path) -> Collection:
    search = _json(folder / SEARCH_FILE)
    by_name = {run.name: run for run in read_runs(folder / RUNS)}
    groups = []
    for row in search["ranking"]:
        names = {seed: run_name(row["name"], seed) for seed in search["n"]["seeds"]}
        groups.append(
            _group(
                row["name"], "compound", search["model"],
                tuple(row[key] ** search["constraint"]["phi"] for key in ("alpha", "beta", "gamma")), "",
                row["resolution"], row["macs"], row["parameters"],
                {seed: by_name.pop(name, None) for seed, name in names.items()},
                {seed: search["failed"][name] for seed, name in names.items() if name in search["failed"]}
                | {seed: "pruned" for seed, name in names.items() if name in search["pruned"]},
            )
        )  # fmt: skip
    _refuse_strangers(folder, by_name)
    title = f"Grid search for the compound coefficients of {search['model']} on {search['dataset']}"
    return Collection("grid_search", title, search["command"], tuple(groups), search)


def _plain(folder: pathlib.Path) -> Collection:
    inside = [path.parent.name for name in (STUDY_FILE, SEARCH_FILE) for path in sorted(folder.glob(f"*/{name}"))]
    if inside:
        raise UserError(
            f"{folder} holds studies of its own ({', '.join(inside[:MAX_NAMED])}); report them one by one: "
            f"--runs={folder / inside[0]}"
        )
    runs = [read_run(folder)] if (folder / "config.json").exists() else read_runs(folder)
    if not runs:
        raise UserError(f"{folder} holds no runs; give the --workdir of a study, of a search or of runs")
    alike: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([{**run.recipe}, *(run.config[key] for key in _SIZE_KEYS)], sort_keys=True)
        alike.setdefault(key, []).append(run)
    groups = []
    for members in alike.values():
        finished = [run for run in members if run.results]
        if not finished:
            continue
        first = finished[0]
        by_seed = {run.config["seed"]: run for run in members}
        if len(by_seed) < len(members):
            names = ", ".join(run.name for run in members[:MAX_NAMED])
            raise UserError(f"{folder} holds one run more than once ({names}); leave one of them there")
        scales = (first.config["model.depth_multiplier"], first.config["model.width_multiplier"], 1.0)
        groups.append(
            _group(
                first.name if len(members) == 1 else first.name.removesuffix(run_name("", first.config["seed"])),
                "model", first.config["model.name"], scales, "", first.config["dataset.resolution"],
                first.results["macs"], first.results["num_parameters"], by_seed, {},
            )
        )  # fmt: skip
    dataset = runs[0].config["dataset.name"]
    return Collection("runs", f"Runs on {dataset}", "", tuple(groups))


_SIZE_KEYS = ("model.name", "model.depth_multiplier", "model.width_multiplier", "model.stage_strides",
              "dataset.resolution")  # fmt: skip


def _group(
    name: str, axis: str, model: str, scales: tuple[float, float, float], matched_to: str, pixels: int, macs: int,
    parameters: int, runs: dict[int, Run | None], reasons: dict[int, str],
) -> Group:  # fmt: skip
    finished, missing = [], {}
    for seed, run in runs.items():
        if run is not None and run.results is not None:
            finished.append(run)
        elif seed in reasons:
            missing[seed] = reasons[seed]
        else:
            missing[seed] = "not run" if run is None else f"unfinished, {run.epochs:.3g} epochs done"
    for run in finished:
        if (run.results["model"], run.results["macs"]) != (model, macs):
            raise UserError(f"the run {run.name} is not the one this study describes; it is of another config")
    return Group(name, axis, model, scales, matched_to, pixels, macs, parameters, tuple(finished), missing)


def _check_one_recipe(folder: pathlib.Path, found: Collection) -> None:
    """Figures of different data or recipes do not belong into one table.

    A study says itself which learning rate its members have.
    """
    own = {LEARNING_RATE} if found.kind in STUDIES else set()
    first, *others = ({k: v for k, v in run.recipe.items() if k not in own} for run in found.runs)
    for run, recipe in zip(found.runs[1:], others):
        changes = changed_between(first, recipe)
        if changes:
            shown = "; ".join(changes[:MAX_NAMED])
            raise UserError(
                f"{folder} mixes runs of different recipes ({found.runs[0].name} and {run.name} differ in {shown}); "
                "put those of one recipe into a folder of their own"
            )


def _refuse_strangers(folder: pathlib.Path, left: dict[str, Run]) -> None:
    if left:
        names: Sequence[str] = list(left)[:MAX_NAMED]
        raise UserError(f"{folder / RUNS} mixes in runs of no such study ({', '.join(names)}); move them away")


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); the command that wrote it writes it again") from error
