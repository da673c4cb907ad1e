"""Checkpoints: asynchronous, atomic, self-describing. The only module that knows Orbax.

One step is a folder `checkpoints/<step>/` with the items
  variables   {"params", "batch_stats"}
  ema         the moving averages of both, where the run keeps them
  training    optimiser state and metric sums: what only a resumed run needs
  metadata    JSON: model, preprocessing, class names, config, versions, validation figures
so that evaluation and prediction need nothing but the path and read nothing they do not use.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from effnet_jax.errors import UserError
from effnet_jax.models.loaded import Loaded
from effnet_jax.pretrained import hub, hub_model
from effnet_jax.training import weights_file
from effnet_jax.training.state import TrainState, joined

FORMAT = 1
FOLDER = "checkpoints"
_UNREADABLE = (ValueError, OSError, KeyError)


class _KeepNewestAndBest:
    """Orbax preservation policy: the newest step and the best-scored one (the earlier of equals)."""

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        best = _best({info.step: (info.metrics or {}).get("score") for info in checkpoints})
        newest = max(info.step for info in checkpoints)
        return [info.step in (newest, best) for info in checkpoints]


def _best(scores: dict[int, float | None]) -> int | None:
    """Returns the step with the highest score, the earliest of equals; None where none has a score."""
    scored = [(-score, step) for step, score in scores.items() if score is not None]
    return min(scored)[1] if scored else None


class Checkpoints:
    """The checkpoints of one run, for writing."""

    def __init__(self, directory: pathlib.Path):
        options = ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics["score"],
            preservation_policy=_KeepNewestAndBest(),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()
        else:  # what ends the run is worth more than what closing may have to say
            with contextlib.suppress(Exception):
                self.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the best-scored step on disk and its metadata."""
        steps = self._manager.all_steps()
        step = _best({step: (self._manager.metrics(step) or {}).get("score") for step in steps})
        return None if step is None else (step, self.metadata(step))

    def best_score(self) -> float:
        """Returns the highest score on disk, -1 where there is none."""
        scores = [(self._manager.metrics(step) or {}).get("score") for step in self._manager.all_steps()]
        return max((score for score in scores if score is not None), default=-1.0)

    def metadata(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore())).metadata

    def save(self, step: int, state: TrainState, metadata: dict[str, Any], score: float | None) -> None:
        """Starts writing `state`; returns once it is copied off the device.

        A step that is already there is left alone: a run never has two states for one step.

        Args:
          step: updates done.
          state: what to save.
          metadata: JSON-serialisable description of the model and of how it was made.
          score: validation score, where this step was validated.
        """
        if step in self._manager.all_steps():
            return
        # Copied to the host here: Orbax would first compile a copy for every shape (10 s for a small model).
        on_host = jax.tree.map(np.array, state)
        items = {
            "variables": ocp.args.StandardSave(on_host.variables),
            "training": ocp.args.StandardSave({"opt_state": on_host.opt_state, "metrics": on_host.metrics}),
            "metadata": ocp.args.JsonSave({"format": FORMAT, "score": score, **metadata}),
        }
        if state.ema is not None:
            items["ema"] = ocp.args.StandardSave(on_host.averaged_variables())
        self._check_space(sum(leaf.nbytes for leaf in jax.tree.leaves(on_host)))
        with _disk_errors_named(self._manager.directory):
            if not self._manager.save(step, args=ocp.args.Composite(**items), metrics={"score": score}):
                raise RuntimeError(f"checkpoint of step {step} was not written")

    def _check_space(self, needed: int) -> None:
        """Says in one line what Orbax's writing threads would say in a hundred."""
        free = shutil.disk_usage(self._manager.directory).free
        if free < needed:
            raise UserError(_full_disk(self._manager.directory, f"{free >> 20} MiB free, {needed >> 20} MiB needed"))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Restores a state with the structure, shapes and shardings of `like`.

        Raises:
          UserError: the step cannot be read.
        """
        try:
            return _state(lambda arguments: self._manager.restore(step, args=arguments), step, like, True)
        except _UNREADABLE as error:
            raise UserError(
                f"the checkpoint {self._manager.directory / str(step)} cannot be read "
                f"({_first_line(error)}); remove that folder to go on from the one before"
            ) from error

    def wait(self) -> None:
        """Blocks until everything saved is on disk."""
        with _disk_errors_named(self._manager.directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        with _disk_errors_named(self._manager.directory):
            self._manager.close()


def resume(path: str | pathlib.Path, like: TrainState) -> TrainState:
    """Reads the newest state of another run: weights, averages, statistics and what the optimiser keeps.

    Where that run has no averages and `like` does, they start at its weights.

    Args:
      path: a run's workdir, its checkpoints folder, or one step of it.
      like: structure, shapes and shardings of the state.

    Raises:
      UserError: there is no checkpoint, or its state is of another network or optimiser.
    """
    directory, step = newest(path)
    folder = directory / str(step)
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
            restore = lambda arguments: reader.restore(folder, args=arguments)  # noqa: E731
            return _state(restore, step, like, (folder / "ema").is_dir())
    except (*_UNREADABLE, TypeError) as error:
        raise UserError(
            f"the state in {folder} does not fit this config ({_first_line(error)}): network and optimiser must be the "
            "same; --config.init_from takes weights alone"
        ) from error


def _state(restore: Callable[[Any], Any], step: int, like: TrainState, has_ema: bool) -> TrainState:
    items = {
        "variables": ocp.args.StandardRestore(like.variables),
        "training": ocp.args.StandardRestore({"opt_state": like.opt_state, "metrics": like.metrics}),
    }
    if like.ema is not None and has_ema:
        items["ema"] = ocp.args.StandardRestore(like.variables)
    restored = restore(ocp.args.Composite(**items))
    ema = None
    if like.ema is not None:
        ema = jax.device_put(joined(restored.ema if has_ema else restored.variables), like.ema.sharding)
    return like.replace(
        step=jax.device_put(jax.numpy.asarray(step, jax.numpy.int32), like.step.sharding),
        params=restored.variables["params"],
        batch_stats=restored.variables["batch_stats"],
        ema=ema,
        opt_state=restored.training["opt_state"],
        metrics=restored.training["metrics"],
    )


class _disk_errors_named:
    """Turns "no space left" from deep inside an asynchronous write into a `UserError`."""

    def __init__(self, directory: Any):
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None and "No space left on device" in str(error):
            raise UserError(_full_disk(self._directory, "no space left")) from error


def write(workdir: pathlib.Path, variables: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Writes `workdir`/checkpoints/0: weights that no training run is behind.

    Args:
      workdir: what `load` is given afterwards.
      variables: {"params", "batch_stats"}.
      metadata: as for `Checkpoints.save`; `load` wants "model", "preprocess", "class_names" and
        "selected_weights".
    """
    directory = workdir.absolute() / FOLDER
    items = ocp.args.Composite(
        variables=ocp.args.StandardSave(variables),
        metadata=ocp.args.JsonSave({"format": FORMAT, "score": None, **metadata}),
    )
    with _disk_errors_named(directory), ocp.CheckpointManager(directory) as manager:
        manager.save(0, args=items)


def _full_disk(directory: Any, detail: str) -> str:
    return (
        f"the disk is full ({detail}): the checkpoint in {directory} was not written, earlier ones are whole; "
        "free some space and start the same command again"
    )


def load(path: str | pathlib.Path, weights: str = "selected") -> Loaded:
    """Reads a checkpoint for inference.

    Args:
      path: a run's workdir, its checkpoints folder, or one step of it; without a step the selected one (best on
        validation) is taken, or the newest where nothing was validated. Or a file that `weights_file.write` wrote, or
        the name of a model that comes with the package, such as "half_b0_cifar100"; of weights on the Hugging Face Hub,
        such as "timm/efficientnet_b0.ra_in1k"; or a folder with the two files of such weights.
      weights: "raw", "ema", or "selected" for whichever did better on validation.

    Raises:
      UserError: no such weights, no checkpoint there, a half-written one, or one that is not this project's.
    """
    if (file := weights_file.find(path)) is not None:
        return weights_file.read(file, weights)
    if (foreign := _pretrained(path, weights)) is not None:
        return foreign
    directory, step = locate(pathlib.Path(path))
    folder = directory / str(step)
    if not (folder / "_CHECKPOINT_METADATA").is_file() or not (folder / "metadata").is_dir():
        raise UserError(f"{folder} is not a whole checkpoint of effnet_jax; use another step of {directory}")
    try:
        metadata = _read_item(folder, "metadata", ocp.args.JsonRestore())
        if metadata.get("format") != FORMAT:
            raise UserError(
                f"{folder} is a checkpoint of another program or version "
                f"(format {metadata.get('format')!r}, this version reads {FORMAT})"
            )
        ema = _use_ema(weights, metadata, folder)
        variables = _read_item(folder, "ema" if ema else "variables", ocp.args.StandardRestore())
    except _UNREADABLE as error:
        raise UserError(f"the checkpoint {folder} cannot be read ({_first_line(error)}); use another step") from error
    return Loaded(variables, metadata, step, ema)


def _pretrained(path: str | pathlib.Path, weights: str) -> Loaded | None:
    """Loads weights of the hub, where `path` means any; what is there under that path goes before a name."""
    found = pathlib.Path(path).expanduser()
    files = hub.in_folder(found)
    if files is None and (found.exists() or not hub.is_name(str(path))):
        return None
    return hub_model.by_name(str(path), weights) if files is None else hub_model.load(files, weights)


def _read_item(folder: pathlib.Path, item: str, arguments: Any) -> Any:
    """Reads one item of a step. A manager would look at the whole folder, and may change it."""
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        return reader.restore(folder, args=ocp.args.Composite(**{item: arguments}))[item]


def _use_ema(weights: str, metadata: dict[str, Any], folder: pathlib.Path) -> bool:
    has_ema = (folder / "ema").is_dir()
    if weights == "ema" and not has_ema:
        raise UserError(f"{folder} holds no EMA weights; use --weights=raw")
    return has_ema and (weights == "ema" or (weights == "selected" and metadata["selected_weights"] == "ema"))


def locate(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Finds the checkpoints folder and the step that `path` means; see `load`."""
    directory, steps = _steps(path)
    scores = {
        step: _read_item(directory / str(step), "metadata", ocp.args.JsonRestore())["score"]
        for step in steps
        if len(steps) > 1 and (directory / str(step) / "metadata").is_dir()
    }
    best = _best(scores)
    return directory, max(steps) if best is None else best


def newest(path: str | pathlib.Path) -> tuple[pathlib.Path, int]:
    """Finds the checkpoints folder of a run and its newest step, or the step that `path` is.

    Raises:
      UserError: there is no checkpoint.
    """
    directory, steps = _steps(pathlib.Path(path))
    return directory, max(steps)


def _steps(path: pathlib.Path) -> tuple[pathlib.Path, list[int]]:
    path = path.expanduser().absolute()
    if not path.exists():
        raise UserError(
            f"there is no checkpoint at {path}: that path does not exist; models that come with effnet_jax: "
            f"{', '.join(weights_file.names())}; names of weights on the hub are like {hub.EXAMPLE}"
        )
    if path.name.isdigit() and (path / "_CHECKPOINT_METADATA").exists():
        return path.parent, [int(path.name)]
    directory = path / FOLDER if (path / FOLDER).is_dir() else path
    steps = [int(child.name) for child in _children(directory) if child.name.isdigit()]
    if not steps:
        raise UserError(f"there is no checkpoint in {path}; give a run's workdir or its checkpoints folder")
    return directory, steps


def _children(directory: pathlib.Path) -> list[pathlib.Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
