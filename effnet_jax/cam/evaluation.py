"""Faithfulness of methods and controls over a set of images, and its table."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from effnet_jax.cam import base, faithfulness, sanity
from effnet_jax.cam.controls import CONTROLS
from effnet_jax.cam.explainer import Explainer
from effnet_jax.cam.pictures import Picture
from effnet_jax.cam.registry import Method
from effnet_jax.cam.wishes import Wish

SANITY = "randomised"  # Spearman with the maps of the wholly randomised model
RIVALS = ("random", "gaussian")  # the controls that a method has to beat
Scores = dict[str, np.ndarray]  # measure -> one figure an image


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is evaluated with.

    Attributes:
      explainer: the model.
      wish: the classes explained; of several an image, the first.
      layer: of the maps.
      seed: of the controls, the ties, the noise and the randomised weights.
      sanity_images: so many of the images go through the weight randomisation.
      progress: called after each piece of work.
    """

    explainer: Explainer
    wish: Wish
    layer: str | None
    seed: int
    sanity_images: int
    progress: Callable[[], Any]

    def scores(self, pictures: Sequence[Picture], methods: Sequence[Method]) -> dict[str, Scores]:
        """Measures each method and each control on every picture.

        Returns:
          Figures [N] by method or control and by measure; the randomisation's [sanity_images at most].
        """
        collected: dict[str, list[Scores]] = {}
        for number, (chunk, images) in enumerate(self.explainer.batches(pictures)):
            key = jax.random.fold_in(jax.random.key(self.seed), number)
            classes, targets = self._targets(chunk, images)
            confidence = self.explainer.confidence(classes)
            for name, maps in self._maps(images, targets, methods, key):
                found = faithfulness.measure(confidence, images, maps, key)
                collected.setdefault(name, []).append({k: v[: len(chunk)] for k, v in found.items()})
                self.progress()
        scores = {name: _joined(parts) for name, parts in collected.items()}
        for method in methods:
            scores[method.name][SANITY] = self._randomised(pictures[: self.sanity_images], method)
            self.progress()
        return scores

    def _targets(self, chunk: Sequence[Picture], images: jax.Array) -> tuple[np.ndarray, Any]:
        labels, count = self.explainer.net.labels, len(chunk)
        probabilities = self.explainer.probabilities(images, self.layer)[:count]
        classes = self.wish.classes(probabilities, [picture.label for picture in chunk], labels)[:, 0]
        return classes, self.wish.explained(classes, labels)

    def _maps(
        self, images: jax.Array, targets: Any, methods: Sequence[Method], key: jax.Array
    ) -> Iterator[tuple[str, jax.Array]]:
        """Yields (name, maps [batch, R, R] in [0, 1]) of every method and control."""
        size = images.shape[1:3]
        for method in methods:
            raw = self.explainer.raw_maps(method, images, targets, self.layer, self.explainer.variables)
            yield method.name, base.finish(raw, size, raw=False)
        grid = self.explainer.map_size(self.layer)  # as fine as the maps that have to beat them
        for name, control in CONTROLS.items():
            yield name, control(key, len(images), grid, size)

    def _randomised(self, pictures: Sequence[Picture], method: Method) -> np.ndarray:
        """Correlation [N] of each map with that of the model whose every layer is randomised."""
        explainer, found = self.explainer, []
        layers = sanity.layers_from_the_top(explainer.net.model, explainer.one_image)
        *_, (_, randomised) = sanity.cascade(explainer.net.variables, layers, self.seed)
        randomised = explainer.replicate(randomised)
        for chunk, images in explainer.batches(pictures):
            _, targets = self._targets(chunk, images)
            trained, random = (
                explainer.raw_maps(method, images, targets, self.layer, variables)
                for variables in (explainer.variables, randomised)
            )
            found.append(np.asarray(sanity.spearman(trained, random))[: len(chunk)])
        return np.concatenate(found)


def _joined(parts: Sequence[Scores]) -> Scores:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summary(scores: dict[str, Scores]) -> list[dict[str, Any]]:
    """Returns a row a method: {"method", measure: {"mean", "interval", "count", "ahead_of"}}.

    The interval is a half-width. "ahead_of", of a method, holds for each of `RIVALS` the mean difference to it on the
    same images, positive where the method is better, and the ends of its 95 % bootstrap interval.
    """
    rows, ahead, differences = [], [], []
    for name, measures in scores.items():
        row: dict[str, Any] = {"method": name}
        for measure, values in measures.items():
            mean, interval = faithfulness.mean_and_interval(values)
            row[measure] = {"mean": mean, "interval": interval, "count": len(values)}
            if name not in CONTROLS and measure in faithfulness.HIGHER_IS_BETTER:
                sign = 1 if faithfulness.HIGHER_IS_BETTER[measure] else -1
                ahead.append(row[measure].setdefault("ahead_of", {}))
                differences.append([sign * (values - scores[rival][measure]) for rival in RIVALS])
        rows.append(row)
    flat = np.concatenate(differences)
    found = np.column_stack([flat.mean(1), faithfulness.bootstrap_intervals(flat)])
    for target, of_rivals in zip(ahead, found.reshape(len(ahead), len(RIVALS), 3).tolist()):
        target.update(zip(RIVALS, of_rivals))
    return rows


# measure -> heading and factor of the table
_COLUMNS = {
    "average_drop": ("average drop % ↓", 100),
    "increase": ("increase % ↑", 100),
    "deletion": ("deletion ↓", 1),
    "insertion": ("insertion ↑", 1),
    "road": ("ROAD ↑", 1),
    SANITY: ("randomised → 0", 1),
}


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns `summary` as two tables: means with half-widths of their 95 % confidence intervals, and each method
    beside the controls."""
    lines = ["| map | " + " | ".join(heading for heading, _ in _COLUMNS.values()) + " |", "|---" * 7 + "|"]
    for row in rows:
        cells = [_cell(row.get(measure), factor) for measure, (_, factor) in _COLUMNS.items()]
        lines.append(
            f"| {row['method']}{' (control)' if row['method'] in CONTROLS else ''} | " + " | ".join(cells) + " |"
        )
    return "\n".join([*lines, "", *_duels(rows)])


def _duels(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The differences to the controls on the same images, and whether zero is outside their intervals."""
    columns = {measure: _COLUMNS[measure] for measure in faithfulness.HIGHER_IS_BETTER}
    heading = " | ".join(heading.rstrip(" ↓↑") for heading, _ in columns.values())
    lines = [f"| better than its control by | {heading} |", "|---" * (1 + len(columns)) + "|"]
    for row in rows:
        for rival in RIVALS if row["method"] not in CONTROLS else ():
            cells = [_duel(row[measure]["ahead_of"][rival], factor) for measure, (_, factor) in columns.items()]
            lines.append(f"| {row['method']} against {rival} | " + " | ".join(cells) + " |")
    return lines


def _duel(ahead: Sequence[float], factor: int) -> str:
    mean, low, high = (factor * value for value in ahead)
    digits = 1 if factor == 100 else 3
    verdict = "yes" if low > 0 else "worse" if high < 0 else "no"
    return f"{verdict}: {mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _cell(figure: dict[str, float] | None, factor: int) -> str:
    if figure is None:
        return "–"
    digits = 1 if factor == 100 else 3
    return f"{factor * figure['mean']:.{digits}f} ± {factor * figure['interval']:.{digits}f}"
