"""Training from a config to results on disk."""

import contextlib
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from effnet_jax import config as config_lib
from effnet_jax.errors import UserError
from effnet_jax.process import atomic, distributed, environment, heap, memory
from effnet_jax.training import curves, trackers, workdir
from effnet_jax.training.checkpoint import FOLDER, Checkpoints, newest
from effnet_jax.training.log import RunLog
from effnet_jax.training.profiling import StepTrace
from effnet_jax.training.run import NEED_LESS_MEMORY, Run
from effnet_jax.training.setup import Setup, build
from effnet_jax.training.stop import StopRequest


def train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: str | pathlib.Path,
    *,
    overwrite: bool = False,
    resume_from: str | pathlib.Path | None = None,
    profile_steps: tuple[int, int] | None = None,
    track: Sequence[str] = (),
    on_training: Callable[[float], None] = lambda seconds: None,
    on_validation: Callable[[int, float], None] = lambda step, accuracy: None,
) -> dict[str, Any]:
    """Trains a model, or goes on training it, and evaluates it on the test split at the end.

    Args:
      config: see configs/default.py for every key.
      folder: the run's workdir. A run of the same config in it is resumed at its newest checkpoint and
        ends with the same parameters and metrics as one never interrupted; a finished one is not repeated, but goes on
        where the config says that it trains for longer.
      overwrite: drop a run that is already there.
      resume_from: another run, at whose newest checkpoint this one begins: with its weights, averages, optimiser state
        and step. The config may differ in what that state does not depend on, as the learning rate.
      profile_steps: (first, last) steps of which a trace is written; see `profiling.StepTrace`.
      track: where figures go beside metrics.jsonl and TensorBoard: "wandb", "mlflow".
      on_training: called whenever training is logged, with the seconds that all steps take at the speed of the last.
      on_validation: called with the step and the better of raw and EMA accuracy after each validation; what it
        raises ends the run, which can be gone on with.

    Returns:
      What `results.json` holds.

    Raises:
      UserError: the config, the data or the workdir will not do, another process trains in it, or the loss became
        non-finite.
      RunInterrupted: SIGTERM or Ctrl-C; the run has been saved.
    """
    folder = pathlib.Path(folder).expanduser().absolute()
    config_lib.check(config)
    trackers.check(track)
    with workdir.held(folder, config, overwrite) as lock, memory.enough_for("this run", NEED_LESS_MEMORY):
        results_file = folder / workdir.RESULTS
        longer = workdir.changed_length(folder, config)
        if results_file.exists() and not longer:
            return json.loads(results_file.read_text())

        heap.release()  # what a run before this one in the process has tidied away
        with StopRequest() as stop, contextlib.ExitStack() as stack:
            with distributed.agreed():
                setup = build(config)
                _check_length(setup.plan.num_train_steps, folder, resume_from)
            workdir.claim(folder, config)
            checkpoints = stack.enter_context(Checkpoints(folder / FOLDER))
            run = Run(config, folder, lock, setup, checkpoints, resume_from, longer)
            stack.enter_context(contextlib.closing(run))
            trace = stack.enter_context(contextlib.closing(StepTrace(profile_steps, folder)))
            open_all = functools.partial(trackers.open_trackers, track, folder, config_lib.flatten(config), run.step)
            with RunLog(folder, run.step, setup.plan.num_train_steps, open_all) as log:
                for line in _announcement(config, setup, run):
                    log.say(line)
                run.train(log, stop, trace, on_training, on_validation)
                results = run.finish(log)
        if lock is not None:
            lock.check()
            title = f"{config.model.name} on {config.dataset.name}"
            curves.draw(folder / "metrics.jsonl", folder / "curves.png", title)
            atomic.write_json(results_file, results)
    return results


def _check_length(num_train_steps: int, folder: pathlib.Path, resume_from: str | pathlib.Path | None) -> None:
    """Refuses a plan that ends before the steps that are already done."""
    begun = workdir.is_begun(folder)
    if begun or resume_from is not None:
        origin = folder if begun else resume_from
        _, done = newest(origin)
        if done > num_train_steps or (not begun and done == num_train_steps):
            raise UserError(
                f"{origin} has done {done} steps and this config ends at step {num_train_steps}; set "
                "--config.num_epochs higher, or choose another --workdir"
            )


def _announcement(config: ml_collections.ConfigDict, setup: Setup, run: Run) -> list[str]:
    counts, plan, step = setup.counts, setup.plan, run.step
    sizes = ", ".join(f"{name} {split.count}" for name, split in setup.splits.items())
    lines = [
        f"devices   {environment.hardware()}",
        f"model     {config.model.name}: {counts.parameters:,} parameters, {counts.macs / 1e6:,.1f} M MACs "
        f"at {config.dataset.resolution} px, {config.model.dtype}",
        f"data      {config.dataset.name}: {sizes}",
        f"plan      {plan.num_train_steps} steps of {plan.batch_size} images, {plan.steps_per_epoch} steps an epoch",
        *setup.notes,
    ]
    if not setup.selects:
        weights = "averaged weights" if config.ema_decay else "weights"
        lines.append(f"selects   nothing, since no image is held out: the last {weights} are taken")
    if heap.is_tuned():
        lines.append(f"memory    glibc keeps what is freed ({heap.ALLOCATOR_VARIABLE}=default turns that off)")
    if step:
        lines.append(f"resuming  at step {step}")
    if run.history:
        lines += [f"went on   at {line}" for line in run.history]
        now, end = (float(setup.schedule(at)) for at in (step, plan.num_train_steps - 1))
        lines.append(
            f"schedule  {config.optimizer.schedule}: learning rate {now:.5f} at step {step}, {end:.5f} at the last, "
            f"step {plan.num_train_steps}"
        )
    return lines
