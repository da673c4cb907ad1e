"""The whole training loop against its own step: what data, metrics, logging and the host add."""

import json
import pathlib
import statistics
import tempfile
import time

import jax
import ml_collections

from effnet_jax import runtime
from effnet_jax.benchmark.jax_models import run_queued
from effnet_jax.errors import UserError
from effnet_jax.training import setup as training_setup
from effnet_jax.training.loop import train_and_evaluate

LOG_EVERY = 20


def measure(config: ml_collections.ConfigDict, steps: int) -> dict[str, float]:
    """Times the compiled training step alone, then a run of the loop, then the step again.

    Args:
      config: of a run; its number of steps, logging and checkpoints are set here.
      steps: of the loop, a multiple of 20.

    Returns:
      "step", "loop": images/s; "host_share": the part of a step's time that the host spends on handing the state
      over; "data": name of the data set.
    """
    with config.unlocked():
        config.num_train_steps = steps
        config.log_every_steps = LOG_EVERY
        config.eval_every_steps = config.checkpoint_every_steps = steps
    setup = _setup(config)
    before = _steps(setup, config.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        train_and_evaluate(config, folder)
        lines = map(json.loads, (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines())
        rates = [line["images_per_second"] for line in lines if line["split"] == "train"]
    after = _steps(setup, config.batch_size)
    step = (before + after) / 2
    host = _handover_seconds(setup) * step / config.batch_size
    # The first interval compiles.
    rate = statistics.median(rates[1:])
    return {"data": config.dataset.name, "step": step, "loop": rate, "host_share": host}


def _setup(config: ml_collections.ConfigDict) -> training_setup.Setup:
    """Builds the run on the config's data set, or on one that every machine has where that is not prepared."""
    try:
        return training_setup.build(config)
    except UserError:
        with config.unlocked():
            config.dataset.update(name="digits", validation_examples=256)
            config.model.num_classes = 10
        return training_setup.build(config)


def _steps(setup: training_setup.Setup, batch_size: int) -> float:
    """Returns images/s of bare steps, queued and with a heap as the loop has them."""
    state, feed = setup.fresh_state(), setup.feeds(0, None).at(0)

    def step() -> jax.Array:
        nonlocal state
        state, token = setup.train_steps(state, feed, 1)
        return token

    run_queued(step, 1)
    runtime.tidy_heap()
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        run_queued(step, LOG_EVERY)
        rates.append(LOG_EVERY * batch_size / (time.perf_counter() - started))
    return statistics.median(rates)


def _handover_seconds(setup: training_setup.Setup) -> float:
    """Returns what one call costs the host: a function of the state and the data that does nothing."""
    nothing = jax.jit(lambda state, feed, count: (state, count), donate_argnums=0)
    state, feed = setup.fresh_state(), setup.feeds(0, None).at(0)
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        state, token = nothing(state, feed, 1)
        jax.block_until_ready(token)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
