"""Trains a model and evaluates it: python scripts/train.py --config configs/b0_cifar100.py

A run that was stopped or killed goes on where it was when the same command is given again.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags
from ml_collections import config_flags

from effnet_jax import cli

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; --config.key=value overrides.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default runs/<name of the config>.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Drop a run that is already in the workdir.")
CLUSTER = cli.ClusterFlags()
flags.mark_flag_as_required("config")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    from effnet_jax.distributed import is_first
    from effnet_jax.training.loop import train_and_evaluate

    folder = cli.workdir(WORKDIR, CONFIG)
    with CLUSTER.joined():
        results = train_and_evaluate(config, folder, overwrite=OVERWRITE.value)
    if not is_first():
        return
    prefix = "ema_" if results["selected_weights"] == "ema" else ""
    print(f"results   {folder}/results.json, {folder}/curves.png, {folder}/checkpoints")
    print(
        f"selected  step {results['selected_step']}, {results['selected_weights']} weights: "
        f"validation accuracy {results['validation'][prefix + 'accuracy']:.4f}, "
        f"test accuracy {results['test'][prefix + 'accuracy']:.4f}"
    )


if __name__ == "__main__":
    cli.run(main)
