"""Finished and unfinished runs, read from their folders."""

import dataclasses
import json
import pathlib
import statistics
from typing import Any

from effnet_jax.config import LOCATION_KEYS, read
from effnet_jax.errors import UserError
from effnet_jax.training import metrics

FULL_EPOCHS = 15  # what a study trains at least, its learning rate brought to its end; less is called reduced
MOST_HELD_OUT = 0.25  # of the images trained on; who holds out more has made the data smaller
# What a run's seed, model and size are told by; the rest of its config is the recipe.
OWN_KEYS = (
    "seed", "model.name", "model.depth_multiplier", "model.width_multiplier", "model.stage_strides",
    "dataset.resolution",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
      name: of its folder.
      config: flat, as `config.flatten` gives it.
      results: what results.json holds; None while the run is not finished.
      records: the lines of metrics.jsonl.
    """

    name: str
    config: dict[str, Any]
    results: dict[str, Any] | None
    records: list[dict[str, Any]]

    @property
    def recipe(self) -> dict[str, Any]:
        return {key: value for key, value in self.config.items() if key not in (*OWN_KEYS, *LOCATION_KEYS)}

    @property
    def epochs(self) -> float:
        """Passes over the training split."""
        return max((record["epoch"] for record in self.records), default=0.0)

    @property
    def throughput(self) -> float | None:
        """Median of the logged training throughput, images/s: compilation, validation and pauses are outside."""
        rates = [record["images_per_second"] for record in self.records if record["split"] == "train"]
        return statistics.median(rates) if rates else None

    @property
    def training_seconds(self) -> float | None:
        """Measured time of the training steps: images seen over the median throughput."""
        if self.results is None or self.throughput is None:
            return None
        return self.results["steps"] * self.config["batch_size"] / self.throughput

    def accuracy(self, split: str, figure: str = "accuracy") -> float:
        """Returns "accuracy" or "top5_accuracy" of the weights that were selected; the run is finished."""
        prefix = "ema_" if self.results["selected_weights"] == "ema" else ""
        return self.results[split][prefix + figure]

    def training_accuracy(self, figure: str = "accuracy") -> float | None:
        """Returns "accuracy" or "top5_accuracy" as training logged it last, on augmented images; None if it did not."""
        return next((r[figure] for r in reversed(self.records) if r["split"] == "train" and figure in r), None)

    def reductions(self) -> list[str]:
        """Says in what the run is less than a full one of its model."""
        found = []
        if self.epochs < FULL_EPOCHS:
            found.append(f"{self.epochs:.3g} of {FULL_EPOCHS} epochs")
        if self.epochs:
            trained_on = self.records[-1]["step"] / self.records[-1]["epoch"] * self.config["batch_size"]
            if self.config["dataset.validation_examples"] > MOST_HELD_OUT * trained_on:
                found.append(f"trained on {trained_on:.0f} images")
        return found


def read_run(folder: pathlib.Path) -> Run:
    """Reads the run in `folder`.

    Raises:
      UserError: a file of it is damaged.
    """
    results, records = folder / "results.json", folder / "metrics.jsonl"
    try:
        found = json.loads(results.read_text()) if results.exists() else None
    except (json.JSONDecodeError, OSError) as error:
        raise UserError(f"{results} cannot be read ({error}); delete that run's folder and train it again") from error
    return Run(folder.name, read(folder / "config.json"), found, metrics.read(records) if records.exists() else [])


def read_runs(folder: pathlib.Path) -> list[Run]:
    """Reads the runs in the subfolders of `folder`, by name."""
    return [read_run(path.parent) for path in sorted(folder.glob("*/config.json"))]
