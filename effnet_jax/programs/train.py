"""Trains a model and evaluates it.

    python scripts/train.py --config configs/b0_cifar100.py

A run that was stopped or killed goes on where it was when the same command is given again.
"""

from absl import flags

from effnet_jax import cli

CONFIG = cli.config("What to train, on what and how")
WORKDIR = flags.DEFINE_string("workdir", None, "FOLDER: Folder of the run. Default: runs/<name of the config>.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Drop a run that is already in the workdir.")
CLUSTER = cli.ClusterFlags()


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    from effnet_jax.process.distributed import is_first
    from effnet_jax.training.loop import train_and_evaluate

    folder = cli.workdir(WORKDIR, CONFIG)
    with CLUSTER.joined():
        results = train_and_evaluate(config, folder, overwrite=OVERWRITE.value)
    if not is_first():
        return
    prefix = "ema_" if results["selected_weights"] == "ema" else ""
    print(f"results   {folder}/results.json, {folder}/curves.png, {folder}/checkpoints")
    splits = [split for split in ("validation", "test") if split in results]
    figures = ", ".join(f"{split} accuracy {results[split][prefix + 'accuracy']:.4f}" for split in splits)
    chosen = "selected" if "validation" in results else "last    "
    print(f"{chosen}  step {results['selected_step']}, {results['selected_weights']} weights: {figures}")


PROGRAM = cli.Program(main, needed=(CONFIG,))
