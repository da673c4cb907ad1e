"""From a folder of runs to a folder with the report."""

import io
import json
import pathlib
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from effnet_jax.process import lock
from effnet_jax.process.atomic import whole_file
from effnet_jax.report import collection
from effnet_jax.report.collection import Collection
from effnet_jax.report.figures import figures
from effnet_jax.report.page import page
from effnet_jax.report.tables import Table, markdown, reduced_mark, tables
from effnet_jax.search.findings import chosen_text
from effnet_jax.training.records import without_places

DOTS_PER_INCH = 110


def write(runs: str | pathlib.Path, output: str | pathlib.Path) -> pathlib.Path:
    """Writes report.md, report.json, index.html and the figures as PNG and SVG; trains nothing.

    Args:
      runs: the workdir of a scaling study or a grid search, or a folder of runs under one recipe.
      output: the folder to write to; each file is whole or not there.

    Returns:
      The path of index.html.

    Raises:
      UserError: there is nothing to report, it does not belong together, or `output` cannot be written.
    """
    found = collection.read(pathlib.Path(runs).expanduser())
    output = pathlib.Path(output).expanduser()
    listed, pictures, drawings = tables(found), {}, {}
    for name, figure in figures(found).items():
        pictures[name], drawings[name] = _saved(figure, "png"), _saved(figure, "svg")
    remark = chosen_text(found.search) if found.search else ""
    contents = {
        "report.md": _markdown(found, listed, list(pictures), remark).encode(),
        "report.json": (json.dumps(_values(found), indent=1) + "\n").encode(),
        "index.html": page(found, listed, pictures, remark).encode(),
        **{f"{name}.png": data for name, data in pictures.items()},
        **{f"{name}.svg": data for name, data in drawings.items()},
    }
    with lock.hold_folder(output, "writing a report into", "--output", wait=True):
        for name, data in contents.items():
            with whole_file(output / name) as file:
                file.write(data)
    return output / "index.html"


def _saved(figure: Figure, kind: str) -> bytes:
    """Without a date, and with fixed identifiers, the same runs give the same file."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "effnet_jax"}):
        figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _markdown(found: Collection, listed: list[Table], pictures: list[str], remark: str) -> str:
    parts = [f"# {found.title}"]
    parts += [f"{found.baseline.capitalize()}."] if found.baseline else []
    parts += [f"**{reduced_mark(found)}**"] if found.reductions else []
    parts += [remark] if remark else []
    parts += [f"Command: `{without_places(found.command)}`"] if found.command else []
    parts += [f"![{name}]({name}.png)" for name in pictures]
    parts += map(markdown, listed)
    return "\n\n".join(parts) + "\n"


def _values(found: Collection) -> dict[str, Any]:
    """Every figure of the report with what it was made by."""
    runs = found.runs
    recipe = runs[0].recipe
    return {
        "kind": found.kind,
        "title": found.title,
        "command": without_places(found.command),
        "baseline": found.baseline,
        "reduced": found.reductions,
        "recipe": recipe,
        "models": [
            {
                "name": group.name, "axis": group.axis, "model": group.model, "scales": group.scales,
                "learning_rates": group.learning_rates,
                "matched_to": group.matched_to, "resolution": group.pixels, "macs": group.macs,
                "parameters": group.parameters, "training_minutes": group.training_minutes, "missing": group.missing,
                **{
                    f"{split}_{figure}": group.accuracy(split, figure)
                    for split in ("validation", "test") for figure in ("accuracy", "top5_accuracy")
                },
            }
            for group in found.groups
        ],
        "runs": {
            run.name: {
                "config": {key: run.config[key] for key in sorted(run.config.keys() - recipe.keys())},
                **run.results, "command": without_places(run.results.get("command", "")),
            }
            for run in runs
        },
    }  # fmt: skip
