"""Training from a config to results on disk."""

import contextlib
import json
import pathlib
import time
from typing import Any

import jax
import ml_collections

from effnet_jax import config as config_lib
from effnet_jax import environment
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.training import curves, metrics, workdir
from effnet_jax.training.checkpoint import FOLDER, Checkpoints
from effnet_jax.training.log import RunLog
from effnet_jax.training.setup import Setup, build
from effnet_jax.training.state import TrainState
from effnet_jax.training.stop import StopRequest


def train_and_evaluate(
    config: ml_collections.ConfigDict, folder: str | pathlib.Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Trains a model, or goes on training it, and evaluates it on the test split at the end.

    Args:
      config: see configs/default.py for every key.
      folder: the run's workdir. A run of the same config in it is resumed at its newest checkpoint and
        ends with the same parameters and metrics as one never interrupted; a finished one is not repeated.
      overwrite: drop a run that is already there.

    Returns:
      What `results.json` holds.

    Raises:
      UserError: the config, the data or the workdir will not do, or the loss became non-finite.
      RunInterrupted: SIGTERM or Ctrl-C; the run has been saved.
    """
    folder = pathlib.Path(folder).expanduser().absolute()
    config_lib.check(config)
    workdir.check(folder, config, overwrite)
    results_file = folder / "results.json"
    if results_file.exists():
        return json.loads(results_file.read_text())

    started = time.perf_counter()
    with StopRequest() as stop, contextlib.ExitStack() as stack:
        setup = build(config)
        workdir.claim(folder, config)
        checkpoints = stack.enter_context(Checkpoints(folder / FOLDER))
        plan = setup.plan
        state, wall_seconds_before = _first_state(setup, checkpoints)
        step = int(state.step)

        def wall_seconds() -> float:
            return wall_seconds_before + time.perf_counter() - started

        def evaluate(state: TrainState, split: str) -> dict[str, float]:
            figures = setup.evaluate(state.variables, setup.splits[split])
            if state.ema:
                ema = setup.evaluate(state.ema, setup.splits[split])
                figures |= {f"ema_{key}": value for key, value in ema.items() if key != "count"}
            return figures

        def save(validation: dict[str, float] | None) -> None:
            _check_finite(state, folder)
            metadata = setup.description | {
                "step": step,
                "wall_seconds": wall_seconds(),
                "validation": validation,
                "selected_weights": _better_weights(validation, state),
            }
            checkpoints.save(step, state, metadata, _score(validation))

        with RunLog(folder, step, plan.num_train_steps) as log:
            for line in _announcement(config, setup, step):
                log.say(line)
            best_score, epoch, order = checkpoints.best_score(), None, None
            while step < plan.num_train_steps:
                if stop.requested:
                    save(None)
                    checkpoints.wait()
                    raise RunInterrupted(
                        f"stopped and saved at step {step} of {plan.num_train_steps} in {folder}; "
                        "the same command goes on from there"
                    )
                first_dispatch = epoch is None
                if epoch != step // plan.steps_per_epoch:
                    epoch = step // plan.steps_per_epoch
                    order = setup.order(epoch)
                updates = plan.dispatch(step)
                state, token = setup.train_steps(state, setup.splits["train"], order, updates)
                step += updates
                log.dispatched(updates, updates * plan.batch_size, token)
                if first_dispatch:  # compilation is no training time
                    log.restart_clock()

                if plan.is_due(plan.log_every, step):
                    sums = jax.device_get(state.metrics)
                    _check_finite(state, folder)
                    figures = metrics.rates(sums) | {
                        "learning_rate": float(setup.schedule(step - 1)),
                        "images_per_second": log.images_per_second(),
                    }
                    log.record(step, plan.epoch(step), "train", figures)
                    state = state.replace(metrics=setup.zero_metrics())
                    log.restart_clock()

                validation = None
                if plan.is_due(plan.eval_every, step):
                    validation = evaluate(state, "validation")
                    log.record(step, plan.epoch(step), "validation", validation)
                is_best = validation is not None and _score(validation) > best_score
                if is_best:
                    best_score = _score(validation)
                if is_best or plan.is_due(plan.checkpoint_every, step):
                    save(validation)
                if validation is not None or plan.is_due(plan.checkpoint_every, step):
                    log.restart_clock()

            checkpoints.wait()
            selected_step, selected = checkpoints.best()
            last = {"step": step, "validation": checkpoints.metadata(step)["validation"]}
            last["test"] = evaluate(state, "test")
            test = last["test"]
            if selected_step != step:
                test = evaluate(checkpoints.restore(selected_step, setup.abstract_state()), "test")
                log.record(selected_step, plan.epoch(selected_step), "test", test)
            log.record(step, plan.epoch(step), "test", last["test"])

        results = {
            "model": config.model.name,
            "dataset": config.dataset.name,
            "seed": config.seed,
            "num_parameters": setup.counts.parameters,
            "macs": setup.counts.macs,
            "steps": step,
            "selected_step": selected_step,
            "selected_weights": selected["selected_weights"],
            "validation": selected["validation"],
            "test": test,
            "last": last,
            "wall_seconds": round(wall_seconds(), 1),
            "hardware": environment.hardware(),
            "versions": environment.versions(),
            "commit": environment.commit(),
        }
    if jax.process_index() == 0:
        curves.draw(
            folder / "metrics.jsonl", folder / "curves.png", f"{config.model.name} on {config.dataset.name}"
        )
        workdir.write_json(results_file, results)
    return results


def _first_state(setup: Setup, checkpoints: Checkpoints) -> tuple[TrainState, float]:
    """Returns the state to start from and the seconds that earlier starts have spent."""
    latest = checkpoints.latest_step()
    if latest is None:
        return setup.fresh_state(), 0.0
    state = checkpoints.restore(latest, setup.abstract_state())
    return state, checkpoints.metadata(latest)["wall_seconds"]


def _score(validation: dict[str, float] | None) -> float | None:
    """What selection goes by: the better validation accuracy of raw and EMA weights."""
    if validation is None:
        return None
    return max(validation["accuracy"], validation.get("ema_accuracy", 0.0))


def _better_weights(validation: dict[str, float] | None, state: TrainState) -> str:
    if not state.ema:
        return "raw"
    if validation is None:
        return "ema"
    return "ema" if validation["ema_accuracy"] >= validation["accuracy"] else "raw"


def _check_finite(state: TrainState, folder: pathlib.Path) -> None:
    bad_step = int(state.metrics["first_bad_step"])
    if bad_step >= 0:
        raise UserError(
            f"the loss became non-finite at step {bad_step}; the last checkpoint in {folder / FOLDER} is "
            "from before. Lower config.optimizer.learning_rate, lengthen warmup_epochs or set clip_norm"
        )


def _announcement(config: ml_collections.ConfigDict, setup: Setup, step: int) -> list[str]:
    counts, plan = setup.counts, setup.plan
    sizes = ", ".join(f"{name} {split.count}" for name, split in setup.splits.items())
    lines = [
        f"devices   {environment.hardware()}",
        f"model     {config.model.name}: {counts.parameters:,} parameters, {counts.macs / 1e6:,.1f} M MACs "
        f"at {config.dataset.resolution} px, {config.model.dtype}",
        f"data      {config.dataset.name}: {sizes}",
        f"plan      {plan.num_train_steps} steps of {plan.batch_size} images, "
        f"{plan.steps_per_epoch} steps an epoch",
    ]
    if step:
        lines.append(f"resuming  at step {step}")
    return lines
