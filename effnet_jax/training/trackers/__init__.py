"""Where the figures of a run go beside metrics.jsonl: one file a service, all behind `Tracker`.

TensorBoard is always on; the others are asked for by name and need their package.
"""

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from effnet_jax.errors import UserError, did_you_mean

ON_REQUEST = ("wandb", "mlflow")


class Tracker(Protocol):
    """What takes the figures of one run."""

    def record(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Takes the figures of an event; see `RunLog.record`."""

    def close(self) -> None:
        """Ends the recording; a run that goes on later is found again."""


def check(names: Sequence[str]) -> None:
    """Makes sure that the trackers `names` can be opened, before anything long begins.

    Raises:
      UserError: an unknown name, or its package is not installed.
    """
    for name in names:
        if name not in ON_REQUEST:
            near = did_you_mean(name, ON_REQUEST)
            raise UserError(f"there is no tracker {name!r}{near}; choose from {', '.join(ON_REQUEST)}")
        try:
            _module(name)
        except ImportError as error:
            raise UserError(f"--track {name} needs its package: pip install {name} ({error})") from error


def open_trackers(
    names: Sequence[str], workdir: pathlib.Path, config: Mapping[str, Any], first_step: int
) -> list[Tracker]:
    """Opens TensorBoard and the trackers `names` for a run that goes on after `first_step` updates.

    Args:
      names: of `ON_REQUEST`.
      workdir: of the run; what finds it again at the service is kept there.
      config: of the run, flat.
      first_step: updates done.
    """
    return [_module(name).Tracker(workdir, config, first_step) for name in ("tensorboard", *names)]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"effnet_jax.training.trackers.{name}_tracker")
