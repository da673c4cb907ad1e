"""The figures of a report: readable in print and by colour-blind readers."""

import itertools
import math
import statistics
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.colors
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effnet_jax.report import published
from effnet_jax.report.collection import STUDIES, Collection, Group
from effnet_jax.report.tables import reduced_mark
from effnet_jax.search import labels
from effnet_jax.search.findings import draw as draw_search

# Okabe-Ito colours, and a marker each: told apart by colour-blind readers and in grey print
STYLES = {
    "baseline": ("#000000", "o"),
    "depth": ("#D55E00", "s"),
    "width": ("#0072B2", "^"),
    "resolution": ("#009E73", "D"),
    "compound": ("#CC79A7", "*"),
}
FAMILY_STYLES = (("efficientnet", "#0072B2", "o"), ("resnet", "#D55E00", "s"), ("densenet", "#009E73", "D"))
AXIS_SYMBOLS = {"depth": "d", "width": "w", "resolution": "r"}
LINES = ("-", "--", ":", "-.")
LEGEND_ROWS = 20  # names below each other that the height of the curves has room for
PALEST = 0.55  # share of white in the last of the curves of one colour
ACCURACY = "validation top-1 accuracy (%)\n± one standard error"
TIME = "training time (min), measured"
SIZE = {"millions of parameters": lambda g: g.parameters / 1e6, "multiply-adds of one image (millions)":
        lambda g: g.macs / 1e6, TIME: lambda g: g.training_minutes}  # fmt: skip


def figures(found: Collection) -> dict[str, Figure]:
    """Returns the figures of a report by name."""
    makers: dict[str, dict[str, Callable[[Collection], Figure]]] = {
        "single_axis": {"figure8": _single_axis},
        "axes": {"figure3": _axes},
        "family": {"figure1": _family},
        "tuning": {"tuning": _tuning},
        "grid_search": {"grid_search": lambda found: draw_search(found.search, [found.baseline, reduced_mark(found)])},
        "runs": {"costs": _runs},
    }
    return {name: make(found) for name, make in (makers[found.kind] | {"curves": _curves}).items()}


def _single_axis(found: Collection) -> Figure:
    """Figure 8 of the paper: accuracy over multiply-adds, a line from the baseline along each axis."""
    figure = Figure(figsize=(12.5, 4.6), layout="constrained")
    ours, paper = figure.subplots(1, 2)
    start = next((group for group in found.groups if group.axis == "baseline" and group.runs), None)
    for axis in STYLES:
        groups = [group for group in found.groups if group.axis == axis and group.runs]
        points = [start, *groups] if start and axis != "baseline" else groups
        _errorbars(ours, groups, SIZE["multiply-adds of one image (millions)"], *STYLES[axis], axis)
        points = sorted(points, key=lambda group: group.macs)
        ours.plot(
            [group.macs / 1e6 for group in points], [group.accuracy("validation")[0] for group in points],
            color=STYLES[axis][0], lw=1, zorder=1,
        )  # fmt: skip
    ours.set(xlabel="multiply-adds of one image (millions)", ylabel=ACCURACY)
    ours.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    _ours(ours, found)
    for axis, cost in published.SINGLE_AXIS.items():
        base = published.SINGLE_AXIS["baseline"]
        colour, marker = STYLES[axis]
        paper.plot([base.giga_macs, cost.giga_macs], [base.top1, cost.top1], color=colour, lw=1)
        paper.plot(cost.giga_macs, cost.top1, marker, color=colour, ms=8, label=axis, ls="none")
    paper.set(xlabel="multiply-adds of one image (billions)", ylabel="ImageNet top-1 accuracy (%)")
    paper.legend(frameon=False)
    _papers(paper, "Figure 8, Table 7")
    return _finished(figure, found)


def _axes(found: Collection) -> Figure:
    """Figure 3 of the paper: one panel an axis, which printed no accuracies as numbers."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, (axis, symbol) in zip(panels, AXIS_SYMBOLS.items()):
        groups = [group for group in found.groups if group.axis in ("baseline", axis)]
        _errorbars(panel, groups, SIZE["multiply-adds of one image (millions)"], *STYLES[axis], axis, line="-")
        index = list(AXIS_SYMBOLS).index(axis)
        _annotate(panel, groups, lambda group: f"{symbol}={group.scales[index]:g}")  # noqa: B023
        panel.set(xlabel="multiply-adds of one image (millions)", title=f"{axis} ({symbol})")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(ACCURACY)
    return _finished(figure, found)


def _family(found: Collection) -> Figure:
    """Figure 1 of the paper, over parameters and multiply-adds, and over training time."""
    figure = Figure(figsize=(15, 9), layout="constrained")
    panels = figure.subplots(2, 3)
    for panel, (label, size) in zip(panels[0], SIZE.items()):
        _by_family(panel, found, label, size)
    panels[0, 0].legend(frameon=False, fontsize=8)
    papers = {
        "millions of parameters": lambda cost: cost.mega_parameters,
        "multiply-adds of one image (billions)": lambda cost: cost.giga_macs,
    }
    for panel, (label, size) in zip(panels[1], papers.items()):
        for prefix, colour, marker in FAMILY_STYLES:
            rows = {name: cost for name, cost in published.FAMILY.items() if name.startswith(prefix)}
            if rows:
                panel.plot(
                    [size(cost) for cost in rows.values()], [cost.top1 for cost in rows.values()],
                    marker=marker, color=colour, ms=7, ls="-" if prefix == "efficientnet" else "none",
                )  # fmt: skip
            for name, cost in rows.items():
                labels.add(panel, size(cost), cost.top1, _short(name))
        panel.set(xlabel=label, ylabel="ImageNet top-1 accuracy (%)")
        panel.margins(x=labels.MARGIN, y=0.1)
        log_axis(panel)
        _papers(panel, "Figures 1 and 5, Table 2")
    panels[1, 2].axis("off")
    panels[1, 2].text(
        0, 0.9, "The paper gives no training times.\nIts DenseNet-201 stands in its figures only.", va="top"
    )
    return _finished(figure, found)


def _tuning(found: Collection) -> Figure:
    """Accuracy over resolution at one learning rate, and over learning rate at one resolution, a line a network.

    These are the rate and the resolution that most of a network's runs have.
    """
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    pixels, rate = lambda group: group.pixels, lambda group: group.learning_rates[0]
    networks: dict[str, list[Group]] = {}
    for group in found.groups:
        if group.runs:
            depth = f", {group.scales[0]:g} of its depth" if group.scales[0] != 1 else ""
            networks.setdefault(group.model + depth, []).append(group)
    for (name, groups), (colour, marker) in zip(networks.items(), itertools.cycle(STYLES.values())):
        for panel, size, same, unit in (
            (panels[0], pixels, rate, "learning rate {:g}"),
            (panels[1], rate, pixels, "{} px"),
        ):
            most = statistics.mode(map(same, groups))
            some = sorted((group for group in groups if same(group) == most), key=size)
            means, errors = zip(*(group.accuracy("validation") or (math.nan, math.nan) for group in some))
            panel.errorbar(
                [size(group) for group in some], means, errors, fmt=marker + "-", color=colour, lw=1, capsize=3, ms=6,
                label=f"{name}, {unit.format(most)}",
            )  # fmt: skip
    for panel, label, size in ((panels[0], "resolution (px)", pixels), (panels[1], "learning rate", rate)):
        panel.set(xlabel=label, title="ours" + (", REDUCED runs" if found.reductions else ""), xscale="log")
        panel.set_xticks(ticks := sorted({size(group) for groups in networks.values() for group in groups}))
        panel.set_xticklabels([f"{tick:g}" for tick in ticks])
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize=8, bbox_to_anchor=(0.5, -0.13), loc="upper center", ncols=2)
    panels[0].set_ylabel(ACCURACY)
    return _finished(figure, found)


def _runs(found: Collection) -> Figure:
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for panel, (label, size) in zip(panels, SIZE.items()):
        _by_family(panel, found, label, size)
    return _finished(figure, found)


def _by_family(panel: Axes, found: Collection, label: str, size: Callable[[Group], float | None]) -> None:
    for prefix, colour, marker in FAMILY_STYLES:
        groups = [group for group in found.groups if group.model.startswith(prefix) and size(group) is not None]
        _errorbars(panel, groups, size, colour, marker, prefix)
        if prefix == "efficientnet" and found.kind == "family":
            some = _one_a_cost(groups)
            means = [(group.accuracy("validation") or (math.nan,))[0] for group in some]
            panel.plot([size(group) for group in some], means, color=colour, lw=1, zorder=1)
        _annotate(panel, groups, lambda group: _short(group.name), size)
    machines = {run.results["hardware"] for run in found.runs}
    where = f", on {len(machines)} kinds of machines" if label == TIME and len(machines) > 1 else ""
    panel.set(xlabel=label + where, ylabel=ACCURACY)
    log_axis(panel)
    _ours(panel, found)


def _one_a_cost(groups: Sequence[Group]) -> list[Group]:
    """Those of a family that a line joins: of several with or made for the same MACs the one that is named first."""
    first: dict[str | int, Group] = {}
    for group in groups:
        first.setdefault(group.matched_to or group.macs, group)
    return list(first.values())


def _curves(found: Collection) -> Figure:
    """Convergence: training loss and validation accuracy by epoch; a band from the worst to the best seed."""
    columns = max(1, math.ceil(sum(bool(group.runs) for group in found.groups) / LEGEND_ROWS))
    figure = Figure(figsize=(10.7 + 2.3 * columns, 4.8), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for group, style in _line_styles(found):
        for panel, split, key in ((loss, "train", "loss"), (accuracy, "validation", "accuracy")):
            epochs, values = _by_epoch(group, split, key)
            scale = 100 if key == "accuracy" else 1
            means = [scale * statistics.fmean(seeds) for seeds in values]
            panel.plot(epochs, means, label=group.name, marker="o", ms=3, **style)
            if len(group.runs) > 1:
                low, high = ([scale * pick(seeds) for seeds in values] for pick in (min, max))
                panel.fill_between(epochs, low, high, color=style["color"], alpha=0.15, lw=0)
    loss.set(xlabel="epoch", ylabel="training cross-entropy (nats)")
    accuracy.set(xlabel="epoch", ylabel="validation top-1 accuracy (%)")
    for panel in (loss, accuracy):
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    accuracy.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.0, 1.0), loc="upper left", ncols=columns)
    return _finished(figure, found)


def _line_styles(found: Collection) -> Iterator[tuple[Group, dict[str, Any]]]:
    """Every group with runs and the style of its curve.

    Those of one axis or one family share a colour, as in the other figures; among them, later ones are paler. The
    candidates of a search and plain runs have a colour each.
    """
    groups = [group for group in found.groups if group.runs]
    if found.kind not in STUDIES:
        colours = matplotlib.colormaps["viridis"]
        for index, group in enumerate(groups):
            yield group, {"color": colours(0.92 * index / max(len(groups) - 1, 1)), "ls": LINES[index % len(LINES)]}
        return
    by_colour: dict[str, list[Group]] = {}
    for group in groups:
        families = [colour for prefix, colour, _ in FAMILY_STYLES if group.model.startswith(prefix)]
        colour = families[0] if found.kind in ("family", "tuning") else STYLES.get(group.axis, STYLES["baseline"])[0]
        by_colour.setdefault(colour, []).append(group)
    for colour, alike in by_colour.items():
        for index, group in enumerate(alike):
            pale = PALEST * index / max(len(alike) - 1, 1)
            mixed = [pale + (1 - pale) * part for part in matplotlib.colors.to_rgb(colour)]
            yield group, {"color": mixed, "ls": LINES[index % len(LINES)]}


def _by_epoch(group: Group, split: str, key: str) -> tuple[list[float], list[list[float]]]:
    """Epochs and, at each, the figures of all seeds: of the better of raw and averaged weights, as selection has it."""
    values: dict[float, list[float]] = {}
    for run in group.runs:
        for record in run.records:
            if record["split"] == split and key in record:
                averaged = record.get(f"ema_{key}", record[key])
                values.setdefault(record["epoch"], []).append(max(record[key], averaged) if split != "train" else
                                                              record[key])  # fmt: skip
    return sorted(values), [values[epoch] for epoch in sorted(values)]


def _errorbars(
    panel: Axes, groups: Sequence[Group], size: Callable[[Group], float | None], colour: str, marker: str,
    label: str, line: str = "none",
) -> None:  # fmt: skip
    """Draws the groups; what was matched in MACs is hollow, what was not run leaves a gap in the line."""
    for matched in (False, True):
        some = [group for group in groups if bool(group.matched_to) is matched]
        if some:
            means, errors = zip(*(group.accuracy("validation") or (math.nan, math.nan) for group in some))
            panel.errorbar(
                [size(group) for group in some], means, errors, fmt=marker, color=colour, ls=line, capsize=3,
                ms=9 if marker == "*" else 7, mfc="white" if matched else colour,
                label=f"{label}, matched" if matched else label,
            )  # fmt: skip


def _annotate(
    panel: Axes, groups: Sequence[Group], text: Callable[[Group], str],
    size: Callable[[Group], float | None] = SIZE["multiply-adds of one image (millions)"],
) -> None:  # fmt: skip
    for group in groups:
        if accuracy := group.accuracy("validation"):
            labels.add(panel, size(group), accuracy[0], text(group))
    panel.margins(x=labels.MARGIN, y=0.1)


def log_axis(panel: Axes) -> None:
    """With plain numbers, few enough to read."""
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())


def _ours(panel: Axes, found: Collection) -> None:
    panel.set_title("ours" + (", REDUCED runs" if found.reductions else ""), fontsize=10)
    panel.grid(alpha=0.3)


def _papers(panel: Axes, where: str) -> None:
    panel.set_title(f"THE PAPER'S ({where}): ImageNet, not ours", fontsize=10)
    panel.set_facecolor("#f3f3f3")
    panel.grid(alpha=0.3)


def _short(name: str) -> str:
    return name.removeprefix("efficientnet_").upper() if name.startswith("efficientnet_b") else name


def _finished(figure: Figure, found: Collection) -> Figure:
    counts = {len(group.runs) for group in found.groups if group.runs}
    least, most = min(counts), max(counts)
    seeds = f"{most} seed{'s' if most > 1 else ''}" if least == most else f"{least} to {most} seeds"
    absent = [group.name for group in found.groups if not group.runs]
    notes = [found.baseline, reduced_mark(found), f"not run: {', '.join(absent)}" if absent else ""]
    figure.suptitle(
        "\n".join([f"{found.title}, {seeds}", *(textwrap.fill(note, 150) for note in notes if note)]), fontsize=11
    )
    labels.arrange(figure)
    return figure
