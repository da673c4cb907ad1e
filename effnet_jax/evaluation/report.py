"""Where a network errs: accuracy by class, confusion matrix, calibration and its most confident mistakes."""

import csv
import io
import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from effnet_jax.data.inspect import contact_sheet
from effnet_jax.evaluation.examples import BINS, Examples
from effnet_jax.process.atomic import whole_file

BY_CLASS, CONFUSION, MATRIX, CALIBRATION, MISTAKES, FIGURES = (
    "per_class.csv", "confusion.csv", "confusion.png", "calibration.png", "mistakes.png", "report.json",
)  # fmt: skip
NO_IMAGES = "no images"  # in place of the class that one is most often taken for
MISTAKES_SHOWN, TILE = 24, 200  # pixels: wide enough for two class names
MOST_COUNTS = 20  # classes whose cells have room for a number
MOST_NAMES = 30  # classes that have room for their names beside the matrix
DOTS_PER_INCH = 110


def write(
    examples: Examples,
    names: Sequence[str],
    labels: np.ndarray,
    image_of: Callable[[int], np.ndarray],
    figures: dict,
    output: pathlib.Path,
) -> None:
    """Writes per_class.csv, confusion.csv, confusion.png, calibration.png, mistakes.png and report.json.

    Args:
      examples: what the network said.
      names: of its classes.
      labels: int [K], the classes that the data set has, also those of which there was no image.
      image_of: the image uint8 [H, W, C] of an example by its number.
      figures: what report.json begins with.
      output: the folder.

    Raises:
      UserError: nothing can be written there.
    """
    matrix = confusion(examples, len(names))
    rows = by_class(matrix, names, labels)
    _write(output / BY_CLASS, _csv([("class", "images", "accuracy", "most often taken for", "times"), *rows]))
    _write(
        output / CONFUSION,
        _csv([("true \\ predicted", *names), *((names[label], *matrix[label].tolist()) for label in labels)]),
    )
    _write(output / MATRIX, _png(_draw_matrix(matrix, names)))
    _write(output / CALIBRATION, _png(_draw_calibration(examples)))
    mistakes = most_confident_mistakes(examples)
    if len(mistakes):
        contact_sheet.save(_draw_mistakes(examples, mistakes, names, image_of), output / MISTAKES)
    content = figures | {
        "by_class": [dict(zip(("class", "images", "accuracy", "taken_for", "times"), row)) for row in rows]
    }
    _write(output / FIGURES, (json.dumps(content, indent=1) + "\n").encode())


def confusion(examples: Examples, num_classes: int) -> np.ndarray:
    """Returns how often each class (row) was taken for each (column), int64 [classes, classes]."""
    cells = examples.labels.astype(np.int64) * num_classes + examples.predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def by_class(matrix: np.ndarray, names: Sequence[str], labels: np.ndarray) -> list[tuple]:
    """Returns (class, images, accuracy, class it is most often taken for, how often), worst class first.

    Where there is no image, the accuracy is None and the row, one of the last, says so.
    """
    rows, without = [], []
    for label in labels:
        total, wrong = int(matrix[label].sum()), matrix[label].copy()
        if not total:
            without.append((names[label], 0, None, NO_IMAGES, 0))
            continue
        accuracy, wrong[label] = int(wrong[label]) / total, 0
        times = int(wrong.max())
        rows.append((names[label], total, round(accuracy, 4), names[wrong.argmax()] if times else "", times))
    return sorted(rows, key=lambda row: row[2]) + without


def most_confident_mistakes(examples: Examples) -> np.ndarray:
    """Returns where in `examples` the mistakes stand that the network was surest of, int64 [M], surest first."""
    wrong = np.flatnonzero(examples.predicted != examples.labels)
    return wrong[np.argsort(-examples.confidence[wrong], kind="stable")][:MISTAKES_SHOWN]


def _draw_matrix(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    present = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    shares = matrix[np.ix_(present, present)] / np.maximum(matrix[present].sum(1, keepdims=True), 1)
    side = min(12.0, 4.5 + 0.22 * min(len(present), MOST_NAMES))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    panel = figure.subplots()
    drawn = panel.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, label="share of the class's images (%)", shrink=0.8)
    panel.set(xlabel="predicted", ylabel="true")
    if len(present) <= MOST_COUNTS:
        for row, column in np.ndindex(shares.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = matrix[present[row], present[column]]
            panel.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    if len(present) <= MOST_NAMES:
        shown = [names[label] for label in present]
        panel.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8)
        panel.set_yticks(range(len(shown)), shown, fontsize=8)
    return figure


def _draw_calibration(examples: Examples) -> Figure:
    """Accuracy over confidence (Guo et al. 2017, figure 1): on the diagonal confidence is what it says."""
    bins = np.minimum((examples.confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    filled = count > 0
    accuracy = np.bincount(bins, examples.correct, BINS)[filled] / count[filled]
    confidence = np.bincount(bins, examples.confidence, BINS)[filled] / count[filled]
    figure = Figure(figsize=(5, 5), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 100], [0, 100], color="grey", lw=1, ls="--")
    panel.plot(100 * confidence, 100 * accuracy, "o-", color="#0072B2")
    panel.set(
        xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100), aspect="equal",
        title=f"expected calibration error {100 * examples.calibration_error():.1f} %",
    )  # fmt: skip
    panel.grid(alpha=0.3)
    return figure


def _draw_mistakes(
    examples: Examples, mistakes: np.ndarray, names: Sequence[str], image_of: Callable[[int], np.ndarray]
):
    groups = []
    for place in mistakes:
        image = image_of(int(examples.numbers[place]))
        image = np.repeat(image, 3, -1) if image.shape[-1] == 1 else image[..., :3]
        said, truth = names[examples.predicted[place]], names[examples.labels[place]]
        groups.append(contact_sheet.Group(f"{100 * examples.confidence[place]:.0f} % {said}, is {truth}", [image]))
    return contact_sheet.draw(groups, TILE)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()


def _csv(rows: Sequence[Sequence]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


def _write(path: pathlib.Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)
