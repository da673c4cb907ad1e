"""The first picture of results/: test accuracy over multiply-adds, of every run to the end that has a record."""

import dataclasses
import io
import pathlib
import re
import statistics
from collections.abc import Iterator

from matplotlib.figure import Figure

from effnet_jax.config import CADENCE_KEYS, LOCATION_KEYS, changed_between
from effnet_jax.process.atomic import whole_file
from effnet_jax.report.figures import FAMILY_STYLES, log_axis
from effnet_jax.report.runs import Run, read_runs
from effnet_jax.search import labels

FILE = "accuracy_over_macs.png"
DATASET = "cifar100"
DOTS_PER_INCH = 110
_SEED = re.compile(r"_?seed\d+$")


@dataclasses.dataclass(frozen=True)
class Point:
    """A network with its seeds.

    Attributes:
      name: of its records, without the seed; where studies share it, all its names.
      model: "efficientnet_b0", "resnet50", ...
      macs: multiply-adds of one image.
      accuracies: of the test images, one a seed, as fractions; of the weights that validation selected.
    """

    name: str
    model: str
    macs: int
    accuracies: tuple[float, ...]


def points(results: pathlib.Path) -> list[Point]:
    """Reads the records under `results`, folders `*/runs/<name>`; runs of fewer than 15 epochs are left out.

    So are the candidates of a search, in a folder `grid_search*`: it has a picture of its own.

    Raises:
      UserError: a record is damaged.
    """
    networks: list[list[Run]] = []
    for run in _trained_to_the_end(results):
        same = next((runs for runs in networks if _is_same_network(run, runs[0])), None)
        if same is None:
            networks.append(same := [])
        same.append(run)
    return sorted(map(_point, networks), key=lambda point: point.macs)


def _trained_to_the_end(results: pathlib.Path) -> Iterator[Run]:
    for folder in sorted(results.glob("*/runs")):
        if not folder.parent.name.startswith("grid_search"):
            for run in read_runs(folder):
                if run.results and run.config["dataset.name"] == DATASET and not run.reductions():
                    yield run


def _is_same_network(run: Run, other: Run) -> bool:
    """Whether two runs differ in their seed alone, or in nothing: studies share networks."""
    return not changed_between(run.config, other.config, (*LOCATION_KEYS, *CADENCE_KEYS, "seed"))


def _point(runs: list[Run]) -> Point:
    names = dict.fromkeys(_SEED.sub("", run.name) for run in runs)
    seeds = {run.config["seed"]: run for run in runs}
    accuracies = tuple(run.accuracy("test") for run in seeds.values())
    return Point(" = ".join(names), runs[0].results["model"], runs[0].results["macs"], accuracies)


def draw(found: list[Point]) -> Figure:
    """Draws accuracy over multiply-adds; bars go from the worst to the best seed, and every point has its name."""
    figure = Figure(figsize=(9.6, 6.2), layout="constrained")
    panel = figure.subplots()
    for prefix, colour, marker in FAMILY_STYLES:
        some = [point for point in found if point.model.startswith(prefix)]
        if some:
            means = [100 * statistics.fmean(point.accuracies) for point in some]
            below = [mean - 100 * min(point.accuracies) for mean, point in zip(means, some)]
            above = [100 * max(point.accuracies) - mean for mean, point in zip(means, some)]
            panel.errorbar(
                [point.macs / 1e6 for point in some], means, (below, above),
                fmt=marker, color=colour, capsize=3, ms=6, label=prefix,
            )  # fmt: skip
    panel.set(
        xlabel="multiply-adds of one image (millions)",
        ylabel="test accuracy (%)",
        title="CIFAR-100 from scratch; bars: worst to best seed",
    )
    panel.margins(x=labels.MARGIN, y=0.12)
    log_axis(panel)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, loc="upper left")
    for point in found:
        seeds = len(point.accuracies)
        text = point.name if seeds == 1 else f"{point.name} ({seeds} seeds)"
        labels.add(panel, point.macs / 1e6, 100 * statistics.fmean(point.accuracies), text)
    labels.arrange(figure)
    return figure


def write(results: pathlib.Path) -> pathlib.Path | None:
    """Draws the records under `results` into its file `FILE`; returns the path, or None where there are none.

    Raises:
      UserError: a record is damaged, or the file cannot be written.
    """
    found = points(results)
    if not found:
        return None
    image = io.BytesIO()
    draw(found).savefig(image, format="png", dpi=DOTS_PER_INCH)
    with whole_file(results / FILE) as file:
        file.write(image.getvalue())
    return results / FILE
