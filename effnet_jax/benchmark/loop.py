"""The whole training loop against its own step: what data, metrics, logging and the host add."""

import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import ml_collections

from effnet_jax.benchmark.jax_models import run_queued
from effnet_jax.errors import UserError
from effnet_jax.process import heap
from effnet_jax.training import setup as training_setup
from effnet_jax.training.loop import train_and_evaluate

LOG_EVERY = 20  # steps
# A turn is so many intervals of the log. Its first one is not counted: it finds the memory as the other left it, and a
# checkpoint may still be being written.
INTERVALS = 5
HANDOVERS = 500  # about half a second of them: other work on the machine slows fifty down together


def measure(config: ml_collections.ConfigDict, turns: int) -> dict[str, float | list[float]]:
    """Times the training loop and the bare compiled step in turns, in one process.

    The loop pauses after each validation, and the steps alone run meanwhile, so both see the same machine and heap.

    Args:
      config: of a run; its number of steps, logging and checkpoints are set here.
      turns: of each.

    Returns:
      "step", "loop": images/s, medians over the turns; "shares": loop / step by turn; "host_share": the part of a
      step's time that the host spends on handing the state over; "data": name of the data set.
    """
    with config.unlocked():
        config.log_every_steps = LOG_EVERY
        config.eval_every_steps = INTERVALS * LOG_EVERY
        config.num_train_steps = config.checkpoint_every_steps = turns * config.eval_every_steps
    setup = _setup(config)
    bare_rates = _bare_rates(setup, config.batch_size)
    next(bare_rates)  # compiles
    heap.tidy()
    loop, step = [], []

    # What the run says is progress here; the benchmark's own output may be JSON.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):

        def run_bare_steps(*_: float) -> None:
            loop.append(statistics.median(_logged_rates(folder)[-INTERVALS:][1:]))
            step.append(statistics.median([next(bare_rates) for _ in range(INTERVALS)][1:]))

        train_and_evaluate(config, folder, on_validation=run_bare_steps)
    rate = statistics.median(step)
    return {
        "data": config.dataset.name,
        "step": rate,
        "loop": statistics.median(loop),
        "shares": [a / b for a, b in zip(loop, step)],
        "host_share": _handover_seconds(setup) * rate / config.batch_size,
    }


def _setup(config: ml_collections.ConfigDict) -> training_setup.Setup:
    """Builds the run on the config's data set, or on one that every machine has where that is not prepared."""
    try:
        return training_setup.build(config)
    except UserError:
        with config.unlocked():
            config.dataset.update(name="digits", validation_examples=256)
            config.model.num_classes = 10
        return training_setup.build(config)


def _logged_rates(folder: str) -> list[float]:
    """Returns images/s of every interval of the log so far."""
    lines = map(json.loads, (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines())
    return [line["images_per_second"] for line in lines if line["split"] == "train"]


def _bare_rates(setup: training_setup.Setup, batch_size: int) -> Iterator[float]:
    """Yields images/s of as many bare steps as the loop logs at a time, queued as the loop queues them."""
    state, feed = setup.fresh_state(), setup.feeds(0, None).at(0)

    def step() -> jax.Array:
        nonlocal state
        state, token = setup.train_steps(state, feed, 1)
        return token

    while True:
        started = time.perf_counter()
        run_queued(step, LOG_EVERY)
        yield LOG_EVERY * batch_size / (time.perf_counter() - started)


def _handover_seconds(setup: training_setup.Setup) -> float:
    """Returns what one call costs the host: a function of the state and the data that does nothing."""
    nothing = jax.jit(lambda state, feed, count: (state, count), donate_argnums=0)
    state, feed = setup.fresh_state(), setup.feeds(0, None).at(0)
    seconds = []
    for _ in range(HANDOVERS):
        started = time.perf_counter()
        state, token = nothing(state, feed, 1)
        jax.block_until_ready(token)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
