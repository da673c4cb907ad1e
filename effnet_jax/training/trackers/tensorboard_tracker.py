"""TensorBoard, written without TensorFlow."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorboardX


class Tracker:
    """Writes `tensorboard/` in the workdir; see `trackers.Tracker`."""

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], first_step: int):
        self._writer = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step + 1, flush_secs=10
        )

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """See `trackers.Tracker`."""
        for key, value in figures.items():
            self._writer.add_scalar(f"{split}/{key}", value, step)

    def close(self) -> None:
        """See `trackers.Tracker`."""
        self._writer.close()
