"""What a grid search leaves on disk: trials.csv, grid_search.json, .md and .png."""

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from effnet_jax.process.atomic import whole_file, write_json
from effnet_jax.process.lock import locked
from effnet_jax.search.candidates import PAPER
from effnet_jax.search.findings import chosen_text, draw, train_flags
from effnet_jax.search.layout import SEARCH_FILE
from effnet_jax.search.queue import LOCK
from effnet_jax.search.runner import Outcome

_COLUMNS = ("task", "alpha", "beta", "gamma", "seed", "state", "validation_accuracy", "steps", "selected_step",
            "num_parameters", "macs", "wall_seconds", "hardware", "commit", "command", "reason")  # fmt: skip


def write(workdir: pathlib.Path, results: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Writes the report into `workdir`; each file is whole or not there."""
    with locked(workdir / LOCK):  # workers that end together write the same
        for name, text in (("trials.csv", _csv(outcomes)), ("grid_search.md", markdown(results))):
            with whole_file(workdir / name) as file:
                file.write(text.encode())
        with whole_file(workdir / "grid_search.png") as file:
            draw(results).savefig(file, format="png", dpi=150)
        write_json(workdir / SEARCH_FILE, results)


def markdown(results: dict[str, Any]) -> str:
    """Returns the ranking as a table, with what is behind each figure."""
    constraint, n = results["constraint"], results["n"]
    lines = [
        f"# Compound coefficients of {results['model']} on {results['dataset']}",
        "",
        f"{n['candidates']} candidates, {len(n['seeds'])} seeds ({', '.join(map(str, n['seeds']))}), "
        f"{' or '.join(map(str, results['steps']))} steps, judged on {n['validation_images']} validation images.",
        f"Constraint: {constraint['constraint']}, {constraint['target']:g} within {constraint['tolerance']:g}, "
        f"grid step {constraint['step']:g}, phi {constraint['phi']:g}.",
        "",
    ]
    lines += [chosen_text(results), ""]
    if results["chosen"]:
        lines += ["To train with them:", "", f"    {train_flags(results)}", ""]
    lines += [
        "| rank | alpha | beta | gamma | product | M MACs | x MACs | M parameters | validation accuracy | behind | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(row) for row in results["ranking"]]
    lines += [f"\n{name} failed: {reason}" for name, reason in results["failed"].items()]
    lines += [f"\n{name} was pruned" for name in results["pruned"]]
    lines += ["", f"Errors: {_error_note(n['seeds'])}. Hardware: {'; '.join(results['hardware'])}. "
              f"Commit: {', '.join(results['commits'])}. {results['wall_seconds']:,.0f} s of training."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _error_note(seeds: Sequence[int]) -> str:
    if len(seeds) > 1:
        return (
            "standard errors; of the means over the seeds, of the differences by what candidates and seeds leave over"
        )
    return "with one seed, the standard error of counting hits among the validation images"


def _row(row: dict[str, Any]) -> str:
    paper = " (paper)" if (row["alpha"], row["beta"], row["gamma"]) == PAPER else ""
    cells = [
        str(row["rank"] or "-"), f"{row['alpha']:g}{paper}", f"{row['beta']:g}", f"{row['gamma']:g}",
        f"{row['product']:.3f}", f"{row['macs'] / 1e6:.1f}", f"{row['macs_ratio']:.2f}",
        f"{row['parameters'] / 1e6:.2f}",
    ]  # fmt: skip
    if row["mean"] is None:
        cells += ["not all seeds finished", "", ""]
    else:
        cells += [
            f"{row['mean']:.4f} ± {row['standard_error']:.4f}",
            f"{row['behind']:.4f} ± {row['behind_error']:.4f}" if row["rank"] > 1 else "",
            "within noise" if row["within_noise"] and row["rank"] > 1 else "",
        ]
    return "| " + " | ".join(cells) + " |"


def _csv(outcomes: Sequence[Outcome]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for outcome in outcomes:
        own = {"task": outcome.task.name, "state": outcome.state, "reason": outcome.reason}
        writer.writerow(outcome.results | outcome.task.params | own | {"validation_accuracy": outcome.accuracy})
    return file.getvalue()
