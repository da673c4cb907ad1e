"""The first picture of results/: test accuracy over multiply-adds, of every run to the end that has a record."""

import dataclasses
import io
import pathlib
import re
import statistics

from matplotlib.figure import Figure

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
      name: of its records, without the seed.
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
    found: dict[str, list[Run]] = {}
    for folder in sorted(results.glob("*/runs")):
        if folder.parent.name.startswith("grid_search"):
            continue
        for run in read_runs(folder):
            if run.results and run.config["dataset.name"] == DATASET and not run.reductions():
                found.setdefault(_SEED.sub("", run.name), []).append(run)
    return [
        Point(
            name,
            runs[0].results["model"],
            runs[0].results["macs"],
            tuple(run.accuracy("test") for run in runs),
        )
        for name, runs in sorted(found.items(), key=lambda item: item[1][0].results["macs"])
    ]


def draw(found: list[Point]) -> Figure:
    """Draws accuracy over multiply-adds; bars go from the worst to the best seed, and every point has its name."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
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
    panel.legend(frameon=False, loc="lower right")
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
