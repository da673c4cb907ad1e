"""curves.png: loss, accuracy and learning rate of one run, from its metrics.jsonl."""

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effnet_jax.training import metrics

# Okabe-Ito: told apart by colour-blind readers and in grey print
COLOURS = {"train": "#0072B2", "validation": "#D55E00", "ema": "#009E73", "test": "#000000"}


def draw(metrics_path: pathlib.Path, output: pathlib.Path, title: str) -> None:
    """Draws the curves of a run to a PNG file."""
    records = metrics.read(metrics_path)
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    _lines(loss, records, "loss")
    loss.set_ylabel("cross-entropy (nats)")
    _lines(accuracy, records, "accuracy")
    accuracy.set_ylabel("top-1 accuracy")
    train = [record for record in records if record["split"] == "train"]
    rate.plot(
        [record["epoch"] for record in train],
        [record["learning_rate"] for record in train],
        color=COLOURS["train"],
    )
    rate.set_ylabel("learning rate")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    for axes in (loss, accuracy):
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(output, dpi=110)


def _lines(axes: Axes, records: list[dict[str, float]], key: str) -> None:
    series = (
        ("train", key, COLOURS["train"], "train (augmented)"),
        ("validation", key, COLOURS["validation"], "validation"),
        ("validation", f"ema_{key}", COLOURS["ema"], "validation, EMA weights"),
    )
    for split, name, colour, label in series:
        chosen = [record for record in records if record["split"] == split and name in record]
        if chosen:
            marker = "o" if split == "validation" else None
            epochs, values = zip(*((record["epoch"], record[name]) for record in chosen))
            axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=3, linewidth=1.3)
    for record in records:
        if record["split"] == "test":
            axes.plot(record["epoch"], record[key], "x", color=COLOURS["test"])
            if f"ema_{key}" in record:
                axes.plot(record["epoch"], record[f"ema_{key}"], "+", color=COLOURS["test"])
    tests = [record for record in records if record["split"] == "test"]
    if tests:
        label = "test (+ EMA weights)" if any(f"ema_{key}" in record for record in tests) else "test"
        axes.plot([], [], "x", color=COLOURS["test"], label=label)
