"""What a search found, in words and as a picture, from what grid_search.json holds. Imports no JAX."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from effnet_jax.search import labels
from effnet_jax.search.candidates import PAPER


def chosen_text(results: dict[str, Any]) -> str:
    """Says what was chosen, and among how many that cannot be told from it."""
    chosen, left = results["chosen"], len(results["unfinished"])
    still = f" Not finished: {left} of {results['n']['candidates'] * len(results['n']['seeds'])} runs." if left else ""
    if not chosen:
        return f"Nothing is chosen: no candidate has finished with every seed.{still}"
    found = "Best so far" if left else "Chosen"
    return (
        f"{found}: alpha {chosen['alpha']:g}, beta {chosen['beta']:g}, gamma {chosen['gamma']:g}. "
        f"Of {results['n']['candidates']} candidates {results['chosen_among_equals']}, itself included, cannot be "
        f"told from the best: the 95 % confidence interval of the difference, seed by seed, holds zero.{still}"
    )


def train_flags(results: dict[str, Any]) -> str:
    """Returns the overrides that give a run of the baseline's config the chosen scaling."""
    chosen = results["chosen"]
    return (
        f"--config.model.depth_multiplier={chosen['depth_multiplier']:g} "
        f"--config.model.width_multiplier={chosen['width_multiplier']:g} "
        f"--config.dataset.resolution={chosen['resolution']}"
    )


def draw(results: dict[str, Any], notes: Sequence[str] = ()) -> Figure:
    """Accuracy over the constraint surface, beta and gamma being its coordinates, and over the real MACs.

    `notes` are added to the title, a line each.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    surface, macs = figure.subplots(1, 2)
    rows = [row for row in results["ranking"] if row["mean"] is not None]
    values = [100 * row["mean"] for row in rows]
    dots = surface.scatter([r["gamma"] for r in rows], [r["beta"] for r in rows], c=values, cmap="viridis", s=120)
    for row in rows:
        labels.add(surface, row["gamma"], row["beta"], f"{row['alpha']:g}")
    if rows:
        figure.colorbar(dots, label="validation accuracy (%)")
        surface.plot(rows[0]["gamma"], rows[0]["beta"], "o", ms=14, mfc="none", mec="black", label="best")
    surface.plot(PAPER[2], PAPER[1], "*", ms=9, color="black", label="the paper's")
    surface.set(xlabel="gamma (resolution)", ylabel="beta (width)", title="numbers at the dots: alpha (depth)")
    surface.margins(0.12)
    surface.legend()
    macs.errorbar(
        [row["macs"] / 1e6 for row in rows], values, [100 * row["standard_error"] for row in rows], fmt="o", capsize=3
    )
    for row, value in zip(rows, values):
        name = ", ".join(f"{row[key]:g}" for key in ("alpha", "beta", "gamma"))
        labels.add(macs, row["macs"] / 1e6, value, name)
    macs.margins(x=labels.MARGIN, y=0.1)
    macs.set_title("numbers at the dots: alpha, beta, gamma")
    macs.set(xlabel="multiply-adds of one image (millions)", ylabel="validation accuracy (%), ± standard error")
    n = results["n"]
    title = (
        f"{results['model']} on {results['dataset']}, {len(n['seeds'])} seed{'s' if len(n['seeds']) > 1 else ''}, "
        f"{'/'.join(map(str, results['steps']))} steps"
    )
    figure.suptitle("\n".join([title, *(textwrap.fill(note, 120) for note in notes if note)]), fontsize=11)
    labels.arrange(figure)
    return figure
