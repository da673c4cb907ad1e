"""The first picture of results/ and its table: test accuracy over multiply-adds, of every run to the end."""

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
from effnet_jax.report.tables import Table, markdown
from effnet_jax.search import labels
from effnet_jax.training.records import without_places

PICTURE, TABLE = "accuracy_over_macs.png", "accuracy_over_macs.md"
DATASET = "cifar100"
DOTS_PER_INCH = 110
_SEED = re.compile(r"_?seed\d+$")
_SEED_OPTION = re.compile(r" --config\.seed=\d+")


@dataclasses.dataclass(frozen=True)
class Point:
    """A network with its seeds.

    Attributes:
      name: of its records, without the seed; where studies share it, all its names.
      model: "efficientnet_b0", "resnet50", ...
      macs: multiply-adds of one image.
      parameters: their number.
      pixels: side of what it sees.
      accuracies: of the test images, by seed, as fractions; of the weights that validation selected.
      commands: what started its runs, without the seed, each once.
    """

    name: str
    model: str
    macs: int
    parameters: int
    pixels: int
    accuracies: dict[int, float]
    commands: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Accuracy in percent, the mean over the seeds."""
        return 100 * statistics.fmean(self.accuracies.values())


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
    accuracies = {run.config["seed"]: run.accuracy("test") for run in runs}
    commands = dict.fromkeys(_SEED_OPTION.sub("", without_places(run.results["command"])) for run in runs)
    first = runs[0].results
    return Point(
        " = ".join(names), first["model"], first["macs"], first["num_parameters"], runs[0].config["dataset.resolution"],
        dict(sorted(accuracies.items())), tuple(commands),
    )  # fmt: skip


def draw(found: list[Point]) -> Figure:
    """Draws accuracy over multiply-adds; bars go from the worst to the best seed, and every point has its name."""
    figure = Figure(figsize=(9.6, 6.2), layout="constrained")
    panel = figure.subplots()
    for prefix, colour, marker in FAMILY_STYLES:
        some = [point for point in found if point.model.startswith(prefix)]
        if some:
            below = [point.mean - 100 * min(point.accuracies.values()) for point in some]
            above = [100 * max(point.accuracies.values()) - point.mean for point in some]
            panel.errorbar(
                [point.macs / 1e6 for point in some], [point.mean for point in some], (below, above),
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
        labels.add(panel, point.macs / 1e6, point.mean, text)
    labels.arrange(figure)
    return figure


def table(found: list[Point]) -> str:
    """Returns every point of the picture in Markdown, cheapest first, with the commands that train it."""
    rows = [
        (
            point.name, f"{point.macs / 1e6:.1f}", f"{point.parameters / 1e6:.2f}", str(point.pixels),
            f"{point.mean:.2f}", ", ".join(f"{seed}: {100 * value:.2f}" for seed, value in point.accuracies.items()),
            ", ".join(f"`{command}`" for command in point.commands),
        )
        for point in found
    ]  # fmt: skip
    header = ("network", "M multiply-adds", "M parameters", "pixels", "test top-1 %", "by seed", "command")
    title = f"Every point of the picture: test accuracy on {DATASET} over multiply-adds"
    note = (
        "`python scripts/results.py --draw` writes this from the records. A network that studies share has several "
        "names. A study's command trains all of its networks."
    )
    return markdown(Table(title, header, tuple(rows), note)).removeprefix("#") + "\n"


def write(results: pathlib.Path) -> pathlib.Path | None:
    """Puts the records under `results` into its files `PICTURE` and `TABLE`.

    Returns:
      The path of the picture, or None where there are no records.

    Raises:
      UserError: a record is damaged, or a file cannot be written.
    """
    found = points(results)
    if not found:
        return None
    image = io.BytesIO()
    draw(found).savefig(image, format="png", dpi=DOTS_PER_INCH)
    for name, content in ((PICTURE, image.getvalue()), (TABLE, table(found).encode())):
        with whole_file(results / name) as file:
            file.write(content)
    return results / PICTURE
