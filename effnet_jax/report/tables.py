"""The tables of a report: what stands in them, as Markdown and as HTML."""

import dataclasses
import html
from collections.abc import Iterable, Sequence

from effnet_jax.report import published
from effnet_jax.report.collection import STUDIES, Collection, Group
from effnet_jax.report.runs import Run
from effnet_jax.training.records import without_places

GAP = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text; `note` stands below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(found: Collection) -> list[Table]:
    """Returns the tables of a report, each run traced in the last one."""
    makers = {
        "single_axis": (_single_axis,),
        "axes": (_costs,),
        "family": (_family, _accuracies),
        "tuning": (_family, _accuracies),
        "grid_search": (_costs,),
        "runs": (_costs, _accuracies),
    }
    return [make(found) for make in makers[found.kind]] + [_trace(found)]


def markdown(table: Table) -> str:
    """Returns the table under a heading of its own, in Markdown."""
    lines = [f"## {table.title}", "", _row(table.header), "|" + "---|" * len(table.header), *map(_row, table.rows)]
    return "\n".join(lines + (["", table.note] if table.note else []))


def as_html(table: Table) -> str:
    """Returns the same as a piece of HTML, with everything in it escaped."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>\n" for row in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return f"<h2>{html.escape(table.title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>{note}"


def reduced_mark(found: Collection) -> str:
    """What a table or figure of reduced runs says of itself; empty for full ones."""
    return f"REDUCED: {'; '.join(found.reductions)}" if found.reductions else ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _titled(title: str, found: Collection) -> str:
    return f"{title} ({reduced_mark(found)})" if found.reductions else title


def _single_axis(found: Collection) -> Table:
    """Table 7 of the paper."""
    rows = []
    for group in found.groups:
        paper = _papers_axis(group)
        rows.append((*_size(group), *_figures(group), *(_paper_cost(paper) if paper else (GAP, GAP))))
    header = (*_SIZE_HEADER, *_FIGURES_HEADER, "paper, ImageNet: GMACs", "paper, ImageNet: top-1 %")
    return Table(_titled("Single axes against compound scaling", found), header, tuple(rows), _note(found, "Table 7"))


def _family(found: Collection) -> Table:
    rows, papers = [], []
    for group in found.groups:
        channels = " to ".join(map(str, group.channels)) if group.channels else GAP
        rates = ", ".join(f"{rate:g}" for rate in group.learning_rates) or GAP
        rows.append((*_size(group), channels, rates, *_figures(group)))
        paper = published.FAMILY.get(group.model) if group.is_published else None
        papers.append((f"{paper.mega_parameters:g}", *_paper_cost(paper)) if paper else ())
    header = (*_SIZE_HEADER, "channels", "learning rate", *_FIGURES_HEADER)
    header, rows, table = _beside_the_papers(header, rows, ("M parameters", "GMACs", "top-1 %"), papers, "Table 2")
    note = f"Channels are those of the stem and of the last map. {_note(found, table)}"
    return Table(_titled(STUDIES[found.kind], found), header, rows, note)


def _accuracies(found: Collection) -> Table:
    """Table 8 of the paper."""
    rows, papers = [], []
    for group in found.groups:
        figures = "accuracy", "top5_accuracy"
        trained = [group.training_accuracy(figure) for figure in figures]
        ours = [GAP if value is None else f"{value:.2f}" for value in trained]
        ours += [_with_error(group.accuracy(split, figure)) for split in ("validation", "test") for figure in figures]
        rows.append((_name(group), *ours))
        beside = found.kind == "family" and group.is_published
        paper = published.VALIDATION_AND_TEST.get(group.model, ()) if beside else ()
        papers.append(tuple(f"{value:.2f}" for value in paper))
    columns = [f"{split} top-{k} %" for split in ("training", "validation", "test") for k in (1, 5)]
    header, rows, table = _beside_the_papers(("model", *columns), rows, columns[2:], papers, "Table 8")
    note = (
        "Training figures are the last ones logged, of augmented images and while weights moved. The test split was "
        "taken once, by the weights that validation selected; nothing was chosen by it."
    )
    title = _titled("Training, validation and test", found)
    return Table(title, header, rows, f"{note} {_note(found, table)}")


def _beside_the_papers(
    header: Sequence[str], rows: Sequence[tuple[str, ...]], columns: Sequence[str], papers: Sequence[tuple[str, ...]],
    table: str,
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], str]:  # fmt: skip
    """Adds the columns of the paper and the name of its table; nothing if it has none of these models."""
    if not any(papers):
        return tuple(header), tuple(rows), ""
    gap = (GAP,) * len(columns)
    joined = tuple(row + (paper or gap) for row, paper in zip(rows, papers))
    return (*header, *(f"paper, ImageNet: {column}" for column in columns)), joined, table


def _costs(found: Collection) -> Table:
    rows = tuple((*_size(group), *_figures(group)) for group in found.groups)
    return Table(_titled("Models", found), (*_SIZE_HEADER, *_FIGURES_HEADER), rows, _note(found))


def _trace(found: Collection) -> Table:
    rows = []
    for group in found.groups:
        for run in group.runs:
            rows.append(_traced(run))
        rows += [(f"{group.name}, seed {seed}", f"missing: {why}", *("",) * 6) for seed, why in group.missing.items()]
    header = ("run", "command", "commit", "seed", "steps", "epochs", "wall time (s)", "hardware")
    return Table(_titled("Runs", found), header, tuple(rows), "Each run's config and versions stand in report.json.")


def _traced(run: Run) -> tuple[str, ...]:
    results = run.results
    return (
        run.name, without_places(results.get("command", GAP)), str(results["commit"]), str(run.config["seed"]),
        str(results["steps"]), f"{run.epochs:.3g}", f"{results['wall_seconds']:.0f}", results["hardware"],
    )  # fmt: skip


_SIZE_HEADER = ("model", "depth", "width", "resolution", "M parameters", "M MACs")
_FIGURES_HEADER = ("seeds", "validation top-1 %", "test top-1 %", "images/s")


def _size(group: Group) -> tuple[str, ...]:
    depth, width, resolution = group.scales
    return (
        _name(group), f"{depth:g}", f"{width:g}", f"{resolution:g} ({group.pixels} px)",
        f"{group.parameters / 1e6:.2f}", f"{group.macs / 1e6:.1f}",
    )  # fmt: skip


def _figures(group: Group) -> tuple[str, ...]:
    seeds = f"{len(group.runs)} of {len(group.runs) + len(group.missing)}"
    rates = [run.throughput for run in group.runs if run.throughput is not None]
    rate = f"{sum(rates) / len(rates):.0f}" if rates else GAP
    return seeds, _with_error(group.accuracy("validation")), _with_error(group.accuracy("test")), rate


def _name(group: Group) -> str:
    return f"{group.name} (MACs of {group.matched_to})" if group.matched_to else group.name


def _with_error(estimate: tuple[float, float] | None) -> str:
    return f"{estimate[0]:.2f} ± {estimate[1]:.2f}" if estimate else GAP


def _papers_axis(group: Group) -> published.Cost | None:
    return published.SINGLE_AXIS[group.axis] if _is_papers(group) else None


def _is_papers(group: Group) -> bool:
    return published.SINGLE_AXIS_SCALES.get(group.axis) == group.scales


def _paper_cost(cost: published.Cost) -> tuple[str, str]:
    return f"{cost.giga_macs:g}", f"{cost.top1:.1f}"


def _note(found: Collection, table: str = "") -> str:
    counts = {int(run.results["validation"]["count"]) if "validation" in run.results else 0 for run in found.runs}
    numbers = {len(group.runs) for group in found.groups} - {0}
    if numbers <= {1}:
        error = "of counting hits, with one seed"
    else:
        error = "over the seeds" + (", of counting hits where there is one" if 1 in numbers else "")
    images = " or ".join(str(count or "no") for count in sorted(counts))
    note = f"± is one standard error, {error}; {images} validation images; a gap is {GAP}."
    if table:
        note += f" The paper's figures are from {table} of {published.SOURCE}: full ImageNet training, not comparable."
    return note
