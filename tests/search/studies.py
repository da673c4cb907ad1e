"""A study of tasks that train nothing, for what has to be fast or has to be killed."""

import json
import os
import pathlib
import sqlite3
import time
import zlib

import ml_collections
import sqlalchemy.event

from configs import default, grid_search, study_single_axis
from effnet_jax import config as config_lib
from effnet_jax.architecture import catalog
from effnet_jax.search.queue import Task
from tests import conftest

NAMES = ("a", "b", "c", "d", "e", "f")
STEPS = 5


def tasks(names=NAMES) -> list[Task]:
    return [Task(f"{name}_seed0", {"letter": name, "seed": 0}, _config(name)) for name in names]


def _config(name: str) -> ml_collections.ConfigDict:
    config = default.get_config()
    config.name = name
    return config


def train(config, folder, on_validation, seconds: float = 0.0, **_) -> dict:
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


def pretend(config, folder, on_validation, on_training=lambda seconds: None, seconds: float = 0.0) -> dict:
    """Stands in for `train_and_evaluate`: writes the files of a run without training, slowly if asked to."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "results.json").exists():
        return json.loads((folder / "results.json").read_text())
    (folder / "config.json").write_text(json.dumps(config_lib.as_json(config)))
    model = config.model
    arch = catalog.architecture(
        model.name, model.width_multiplier, model.depth_multiplier, model.stem_stride, model.stage_strides
    )
    counts = arch.count(config.dataset.resolution, model.num_classes)
    hits = 0.3 + zlib.crc32(f"{model}{config.dataset.resolution}{config.seed}".encode()) % 1000 / 4000
    figures = {"count": 180, "loss": 2.0, "accuracy": hits, "top5_accuracy": hits + 0.3}
    records = []
    on_training(60.0 * counts.macs / 1e6)
    for step in range(1, STEPS + 1):
        time.sleep(seconds / STEPS)
        events = {"train": {"images_per_second": 100.0, "learning_rate": 0.1}, "validation": {}}
        records += [
            {"step": step, "epoch": step / 10, "split": split} | figures | more for split, more in events.items()
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        on_validation(step, hits)
    results = {
        "model": model.name, "dataset": config.dataset.name, "seed": config.seed, "num_parameters": counts.parameters,
        "macs": counts.macs, "steps": STEPS, "selected_step": STEPS, "selected_weights": "raw", "wall_seconds": 1.0,
        "hardware": "none", "versions": {}, "commit": "none", "command": "none", "validation": figures,
        "test": figures | {"accuracy": hits - 0.01},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return results


def accuracy(name: str) -> float:
    return (ord(name) - ord("a") + 1) / 10


def tiny_search() -> ml_collections.ConfigDict:
    """A real search on the digits with one candidate, 1.4 of the width, and just enough steps to learn something."""
    config = grid_search.get_config()
    config.search.update(step=0.4, seeds=(0,), minimum=(1.0, 1.4, 1.0))
    config.train = train = conftest.tiny_config.__wrapped__()
    train.update(num_train_steps=30, eval_every_steps=15, checkpoint_every_steps=5, log_every_steps=10, ema_decay=0.0)
    train.model.update(bn_momentum=0.5, dropout_rate=0.0, stochastic_depth_rate=0.0)
    train.optimizer.update(name="adamw", learning_rate=0.02, schedule="constant", warmup_epochs=0.0)
    return config


def wider_search() -> ml_collections.ConfigDict:
    """Three candidates and two seeds, to be pretended."""
    config = tiny_search()
    config.search.update(step=0.2, tolerance=0.05, minimum=(1.0, 1.0, 1.0), seeds=(0, 1))
    return config


def tiny_study() -> ml_collections.ConfigDict:
    """A baseline, depth, width and their compound, with two seeds, to be pretended."""
    config = study_single_axis.get_config()
    config.train = tiny_search().train
    config.study.update(seeds=(0, 1), match_tolerance=0.5)
    for name in ("resolution", "width_matched", "resolution_matched"):
        del config.study.members[name]
    return config


def main(workdir: str, storage: str, seconds: float) -> None:
    """What a worker process of the tests runs."""
    from effnet_jax.search import runner

    runner.train_and_evaluate = lambda *args, **kwargs: train(*args, **kwargs, seconds=seconds)
    runner.POLL_SECONDS = 0.05
    runner.run_study("test", tasks(), pathlib.Path(workdir), description={"what": "test"}, storage_url=storage)


CROWD = "abcdefghij"
FULL = "full"  # a file in the workdir: while it is there, so is no room for the database


def crowd(workdir: str, count: int, seconds: float) -> None:
    """What a process of the tests runs that forks workers: they start at once, and imports are paid for once."""
    from effnet_jax.search import runner, storage

    runner.train_and_evaluate = lambda *args, **kwargs: train(*args, **kwargs, seconds=seconds)
    runner.POLL_SECONDS = storage.RETRY_SECONDS = 0.05
    folder = pathlib.Path(workdir)

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def fill_the_disk(connection, cursor, statement, *_):
        if (folder / FULL).exists() and statement.split()[0] in ("INSERT", "UPDATE"):
            error = sqlite3.OperationalError("database or disk is full")
            raise sqlalchemy.exc.OperationalError(statement, None, error)

    workers = []
    for _ in range(count):
        workers.append(os.fork())
        if not workers[-1]:
            code = 1
            try:
                runner.run_study("test", tasks(CROWD), folder, description={"what": "test"})
                code = 0
            finally:
                os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    print(*sorted(codes))


def study_main(workdir: str, seconds: float) -> None:
    """What a worker process of a scaling study runs."""
    from effnet_jax.search import runner
    from effnet_jax.study import scaling_study

    runner.train_and_evaluate = lambda *args, **kwargs: pretend(*args, **kwargs, seconds=seconds)
    runner.POLL_SECONDS = 0.05
    scaling_study.run(tiny_study(), workdir)
