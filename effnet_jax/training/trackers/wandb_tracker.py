"""Weights & Biases. Its own settings hold: WANDB_PROJECT, WANDB_MODE=offline and so on."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import wandb

PROJECT = "effnet_jax"
_FILE = "wandb_run.txt"  # the run's id: a run that goes on is the same run there


class Tracker:
    """One run of Weights & Biases; see `trackers.Tracker`."""

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], first_step: int):
        kept = workdir / _FILE
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=workdir.name,
            dir=str(workdir),
            config=dict(config),
            id=kept.read_text().strip() if kept.exists() else None,
            resume="allow",
        )
        kept.write_text(f"{self._run.id}\n")
        # A figure has its own step: the test split may judge the weights of an earlier one.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """See `trackers.Tracker`."""
        self._run.log({"step": step, **{f"{split}/{key}": value for key, value in figures.items()}})

    def close(self) -> None:
        """See `trackers.Tracker`."""
        self._run.finish()
