"""MLflow. Its own settings hold: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and so on."""

import pathlib
from collections.abc import Mapping
from typing import Any

import mlflow

_FILE = "mlflow_run.txt"  # the run's id: a run that goes on is the same run there
_PARAMETERS_AT_ONCE = 100  # MLflow takes no more


class Tracker:
    """One run of MLflow; see `trackers.Tracker`."""

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], first_step: int):
        kept = workdir / _FILE
        if kept.exists():
            mlflow.start_run(run_id=kept.read_text().strip())
            return
        kept.write_text(mlflow.start_run(run_name=workdir.name).info.run_id + "\n")
        items = list(config.items())
        for start in range(0, len(items), _PARAMETERS_AT_ONCE):
            mlflow.log_params(dict(items[start : start + _PARAMETERS_AT_ONCE]))

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """See `trackers.Tracker`."""
        mlflow.log_metrics({f"{split}/{key}": float(value) for key, value in figures.items()}, step=step)

    def close(self) -> None:
        """See `trackers.Tracker`."""
        mlflow.end_run()
