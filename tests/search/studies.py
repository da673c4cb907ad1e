"""A study of tasks that train nothing, for what has to be fast or has to be killed."""

import os
import pathlib
import time

import ml_collections

from configs import grid_search
from effnet_jax.search.queue import Task
from tests import conftest

NAMES = ("a", "b", "c", "d", "e", "f")
STEPS = 5


def tasks(names=NAMES) -> list[Task]:
    return [
        Task(f"{name}_seed0", {"letter": name, "seed": 0}, ml_collections.ConfigDict({"name": name})) for name in names
    ]


def train(config, folder, on_validation, seconds: float = 0.0) -> dict:
    """Stands in for `train_and_evaluate`: counts steps in a file, so that a resumed run goes on with them."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    done = folder / "done"
    for step in range(len(done.read_text()) if done.exists() else 0, STEPS):
        time.sleep(seconds / STEPS)
        with done.open("a") as file:
            file.write(".")
        on_validation(step, accuracy(config.name))
    return {
        "num_parameters": 1, "macs": 2, "steps": STEPS, "selected_step": STEPS, "selected_weights": "ema",
        "wall_seconds": seconds, "hardware": "none", "commit": "none", "command": "none",
        "validation": {"accuracy": 0.0, "ema_accuracy": accuracy(config.name), "count": 100},
        "test": {"accuracy": 1.0},
    }  # fmt: skip


def accuracy(name: str) -> float:
    return (ord(name) - ord("a") + 1) / 10


def tiny_search() -> ml_collections.ConfigDict:
    """A real search on the digits with two candidates: 1.4 of the width, and 1.4 of the resolution."""
    config = grid_search.get_config()
    config.search.update(step=0.4, seeds=(0,))
    config.train = train = conftest.tiny_config.__wrapped__()
    # Long enough, and fast enough learning, for accuracies that are not chance's.
    train.update(num_train_steps=30, eval_every_steps=15, checkpoint_every_steps=5, log_every_steps=10, ema_decay=0.5)
    train.model.update(bn_momentum=0.5, dropout_rate=0.0, stochastic_depth_rate=0.0)
    train.optimizer.update(name="adamw", learning_rate=0.02, schedule="constant", warmup_epochs=0.0)
    return config


def main(workdir: str, storage: str, seconds: float) -> None:
    """What a worker process of the tests runs."""
    from effnet_jax.search import runner

    runner.train_and_evaluate = lambda *args, **kwargs: train(*args, **kwargs, seconds=seconds)
    runner.POLL_SECONDS = 0.05
    runner.run_study("test", tasks(), pathlib.Path(workdir), description={"what": "test"}, storage_url=storage)
