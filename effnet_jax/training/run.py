"""A run while it goes on: its state, and the recurring acts on it."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from effnet_jax.data.device import pipeline
from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.process import environment, heap, memory, sharding
from effnet_jax.process.lock import Lock
from effnet_jax.training import metrics
from effnet_jax.training.checkpoint import FOLDER, Checkpoints, resume
from effnet_jax.training.log import RunLog
from effnet_jax.training.profiling import StepTrace
from effnet_jax.training.setup import Setup
from effnet_jax.training.state import TrainState
from effnet_jax.training.stop import StopRequest

NEED_LESS_MEMORY = (
    "lower config.batch_size or config.dataset.resolution, raise config.optimizer.accumulation_steps, or set "
    "--config.model.remat=True, which computes again instead of keeping"
)


class Run:
    """What changes while a run goes on, and the recurring acts on it.

    Args:
      lock: on the folder, of the process that writes.

    Attributes:
      step: updates done.
      history: a line for each time that the run went on under a longer plan, or began at another run's checkpoint.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        folder: pathlib.Path,
        lock: Lock | None,
        setup: Setup,
        checkpoints: Checkpoints,
        resume_from: str | pathlib.Path | None,
        longer: list[str],
    ):
        self._config, self._folder, self._lock = config, folder, lock
        self._setup, self._checkpoints = setup, checkpoints
        self._started, self._seconds_before = time.perf_counter(), 0.0
        self.history: list[str] = []
        latest, data_state = checkpoints.latest_step(), None
        if latest is not None:
            self._state = checkpoints.restore(latest, setup.abstract_state())
            metadata = checkpoints.metadata(latest)
            self._seconds_before, data_state = metadata["wall_seconds"], metadata["data"]
            # A checkpoint of 0.1 has no history.
            self.history = metadata.get("history", []) + [f"step {latest}: {change}" for change in longer]
        elif resume_from is not None:
            state = resume(resume_from, setup.abstract_state())
            self._state = state.replace(metrics=setup.zero_metrics())
            self.history = [f"step {int(state.step)} of {resume_from}"]
        else:
            self._state = setup.fresh_state()
        self.step = int(self._state.step)
        self._feeds = setup.feeds(self.step, data_state)
        if latest is None and resume_from is not None:
            self._save(None)  # from here on the run stands on its own

    def train(
        self,
        log: RunLog,
        stop: StopRequest,
        trace: StepTrace,
        on_training: Callable[[float], None],
        on_validation: Callable[[int, float], None],
    ) -> None:
        """Runs the updates that are left, with everything that is due between them.

        At one step the order is log, validate, save: a checkpoint never runs ahead of metrics.jsonl. What is validated
        has statistics computed for it and keeps them, so that they are what its checkpoint holds and a resumed run has;
        where nothing is validated, the last step has them, which the test split judges.

        Raises:
          RunInterrupted: a stop was requested; the run has been saved.
          UserError: the loss became non-finite, or the data cannot be read on; what was done until then is saved.
        """
        plan, first_step, validated = self._setup.plan, self.step, False
        best_score = self._checkpoints.best_score()
        while self.step < plan.num_train_steps:
            if stop.reached():
                self._save_and_stop()
            compiles = self.step == first_step
            updates = plan.dispatch(self.step)
            feed = self._next_feed()
            if compiles:
                self._check_memory(feed, updates)
            trace.before(self.step)
            self._state, token = self._setup.train_steps(self._state, feed, updates)
            del feed  # images must not outlive their step
            self.step += updates
            log.dispatched(updates, updates * plan.batch_size, token)
            if written := trace.after(self.step, token):
                log.say(written)
            if compiles:  # which is no training time
                heap.tidy()
                log.restart_clock()

            if plan.is_due(plan.log_every, self.step):
                speed = self._log_training(log)
                if speed:  # none for the first steps, which compiled
                    on_training(plan.num_train_steps * plan.batch_size / speed)
            validation = None
            validates = self._setup.selects and plan.is_due(plan.eval_every, self.step)
            if validates and not validated:
                heap.release()  # for what is compiled now, lest it take the memory of a step
            if validates or self.step == plan.num_train_steps:
                self._state = self._setup.recompute(self._state)
            if validates:
                validation = self._evaluate(self._state, "validation")
                if not validated:
                    heap.tidy()
                    validated = True
                log.record(self.step, plan.epoch(self.step), "validation", validation)
            is_best = validation is not None and _score(validation) > best_score
            if is_best:
                best_score = _score(validation)
            if is_best or plan.is_due(plan.checkpoint_every, self.step):
                self._save(validation)
            if validation is not None:
                on_validation(self.step, _score(validation))
            if validation is not None or plan.is_due(plan.checkpoint_every, self.step):
                log.restart_clock()

    def close(self) -> None:
        """Ends what reads data in the background."""
        self._feeds.close()

    def finish(self, log: RunLog) -> dict[str, Any]:
        """Evaluates the selected and the last weights on the test split; returns what results.json holds.

        Where nothing was validated, the last weights are the selected ones and no figure is called "validation".
        """
        setup, config, step = self._setup, self._config, self.step
        self._checkpoints.wait()
        final = self._checkpoints.metadata(step)
        selected_step, selected = self._checkpoints.best() or (step, final)
        last = {"step": step, **_validation(final), "test": self._evaluate(self._state, "test")}
        test = last["test"]
        if selected_step != step:
            state = self._checkpoints.restore(selected_step, setup.abstract_state())
            test = self._evaluate(state, "test")
            log.record(selected_step, setup.plan.epoch(selected_step), "test", test)
        log.record(step, setup.plan.epoch(step), "test", last["test"])
        return {
            "model": config.model.name,
            "dataset": config.dataset.name,
            "seed": config.seed,
            "num_parameters": setup.counts.parameters,
            "macs": setup.counts.macs,
            "steps": step,
            "selected_step": selected_step,
            "selected_weights": selected["selected_weights"],
            **_validation(selected),
            "test": test,
            "last": last,
            "wall_seconds": round(self._wall_seconds(), 1),
            "hardware": environment.hardware(),
            "versions": environment.versions(),
            "commit": environment.commit(),
            "command": environment.command(),
            "history": self.history,
        }

    def _next_feed(self) -> pipeline.Feed:
        """Returns what the next step reads; where there is no going on, all steps done are saved first."""
        try:
            return self._feeds.at(self.step)
        except UserError as error:
            if self.step == 0 or jax.process_count() > 1:  # others, who save together with this one, know of nothing
                raise
            self._save(None)
            self._checkpoints.wait()
            raise UserError(
                f"{error}; saved at step {self.step} of {self._setup.plan.num_train_steps} in {self._folder}, the same "
                "command goes on from there"
            ) from error

    def _log_training(self, log: RunLog) -> float:
        """Returns images/s."""
        sums = jax.device_get(self._state.metrics)
        self._check_before_writing()
        figures = metrics.rates(sums, self._config.model.num_classes) | {
            "learning_rate": float(self._setup.schedule(self.step - 1)),
            "images_per_second": log.images_per_second(),
        }
        log.record(self.step, self._setup.plan.epoch(self.step), "train", figures)
        self._state = self._state.replace(metrics=self._setup.zero_metrics())
        log.restart_clock()
        return figures["images_per_second"]

    def _evaluate(self, state: TrainState, split: str) -> dict[str, float]:
        """Figures of the raw weights and, prefixed with "ema_", of their moving averages."""
        weights = [state.variables]
        if state.ema is not None:
            weights.append(sharding.put_replicated(state.averaged_variables(), self._setup.mesh))
        figures, *averaged = self._setup.evaluate(weights, self._setup.splits[split])
        for ema in averaged:
            figures |= {f"ema_{key}": value for key, value in ema.items() if key != "count"}
        return figures

    def _save(self, validation: dict[str, float] | None) -> None:
        self._check_before_writing()
        metadata = self._setup.description | {
            "step": self.step,
            "wall_seconds": self._wall_seconds(),
            "data": self._feeds.state(),
            "history": self.history,
            "validation": validation,
            "selected_weights": _better_weights(validation, self._state),
        }
        self._checkpoints.save(self.step, self._state, metadata, _score(validation))

    def _save_and_stop(self) -> None:
        self._save(None)
        self._checkpoints.wait()
        raise RunInterrupted(
            f"stopped and saved at step {self.step} of {self._setup.plan.num_train_steps} in {self._folder}; "
            "the same command goes on from there"
        )

    def _check_memory(self, feed: pipeline.Feed, updates: int) -> None:
        """Refuses a step that does not fit; its compilation is that of the first call."""
        compiled = self._setup.train_steps.lower(self._state, feed, updates).compile()
        size, side = self._config.batch_size, self._config.dataset.resolution
        memory.check(compiled, f"a training step of {size} images at {side} px", NEED_LESS_MEMORY)

    def _check_before_writing(self) -> None:
        if self._lock is not None:
            self._lock.check()
        bad_step = int(self._state.metrics["first_bad_step"])
        if bad_step >= 0:
            raise UserError(
                f"the loss became non-finite at step {bad_step}; the last checkpoint in {self._folder / FOLDER} "
                "is from before. Lower config.optimizer.learning_rate, lengthen warmup_epochs or set clip_norm"
            )

    def _wall_seconds(self) -> float:
        """Seconds spent on this run, earlier starts included."""
        return self._seconds_before + time.perf_counter() - self._started


def _validation(metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the validation figures of a checkpoint as results.json has them; nothing where there are none."""
    return {} if metadata["validation"] is None else {"validation": metadata["validation"]}


def _score(validation: dict[str, float] | None) -> float | None:
    """What selection goes by: the better validation accuracy of raw and EMA weights."""
    if validation is None:
        return None
    return max(validation["accuracy"], validation.get("ema_accuracy", 0.0))


def _better_weights(validation: dict[str, float] | None, state: TrainState) -> str:
    if state.ema is None:
        return "raw"
    if validation is None:
        return "ema"
    return "ema" if validation["ema_accuracy"] >= validation["accuracy"] else "raw"
