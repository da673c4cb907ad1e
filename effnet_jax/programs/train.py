"""Trains a model and evaluates it.

    python scripts/train.py --config configs/b0_cifar100.py

A run that was stopped or killed goes on where it was when the same command is given again. It may then train for longer
(--config.num_epochs), or speak, validate and save at other steps.
"""

import re
from typing import Any

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

CONFIG = cli.config("What to train, on what and how")
WORKDIR = flags.DEFINE_string("workdir", None, "FOLDER: Folder of the run. Default: runs/<name of the config>.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Drop a run that is already in the workdir.")
RESUME_FROM = flags.DEFINE_string(
    "resume_from",
    None,
    "RUN: Begin a new run at the newest checkpoint of this one, with its weights, averages, optimiser state and step. "
    "Default: from the start.",
)
PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps", None, "FIRST:LAST: Write a trace of these steps into the workdir. Default: none."
)
TRACK = flags.DEFINE_list(
    "track", [], "NAME,...: Also send the figures to wandb (Weights & Biases) or mlflow. Default: none."
)
CLUSTER = cli.ClusterFlags()


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    from effnet_jax.process.distributed import is_first
    from effnet_jax.training.loop import train_and_evaluate

    folder = cli.workdir(WORKDIR, CONFIG)
    with CLUSTER.joined():
        results = train_and_evaluate(config, folder, overwrite=OVERWRITE.value, **_options())
    if not is_first():
        return
    prefix = "ema_" if results["selected_weights"] == "ema" else ""
    print(f"results   {folder}/results.json, {folder}/curves.png, {folder}/checkpoints")
    splits = [split for split in ("validation", "test") if split in results]
    figures = ", ".join(f"{split} accuracy {results[split][prefix + 'accuracy']:.4f}" for split in splits)
    chosen = "selected" if "validation" in results else "last    "
    print(f"{chosen}  step {results['selected_step']}, {results['selected_weights']} weights: {figures}")


def _options() -> dict[str, Any]:
    steps = None
    if PROFILE_STEPS.value is not None:
        match = re.fullmatch(r"(\d+):(\d+)", PROFILE_STEPS.value)
        steps = tuple(map(int, match.groups())) if match else (0, 0)
        if steps[0] >= steps[1]:
            raise UserError(f"--profile_steps is FIRST:LAST, such as 100:110, not {PROFILE_STEPS.value!r}")
    return {"resume_from": RESUME_FROM.value, "profile_steps": steps, "track": TRACK.value}


PROGRAM = cli.Program(main, needed=(CONFIG,))
