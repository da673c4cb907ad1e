"""Evaluates a checkpoint, on the data set it was trained on or on another one.

    python scripts/evaluate.py runs/b0_cifar100 --split test

Prints one JSON object. Classes of another data set are matched by their names; those that the network does not know are
named and left out.
"""

import json

from absl import flags

from effnet_jax import cli

CHECKPOINT = cli.checkpoint()
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which split.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 512, "IMAGES: Images at a time.", lower_bound=1)
WEIGHTS = cli.weights()
DATA_DIR = cli.data_dir()
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "NAME: Another data set: cifar100, imagenet2012, ... or folder:PATH. Default: the one it was trained on.",
)
REPORT = flags.DEFINE_string(
    "report",
    None,
    "FOLDER: Where accuracy by class, confusion matrix, calibration and the most confident mistakes go. Default: none.",
)
CLUSTER = cli.ClusterFlags()


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.evaluation.checkpoint import evaluate_checkpoint
    from effnet_jax.process.distributed import is_first

    with CLUSTER.joined():
        figures = evaluate_checkpoint(
            CHECKPOINT.value, SPLIT.value, BATCH_SIZE.value, WEIGHTS.value, DATA_DIR.value,
            dataset=DATASET.value, report=REPORT.value,
        )  # fmt: skip
    if is_first():
        print(json.dumps(figures))


PROGRAM = cli.Program(main, needed=(CHECKPOINT,), first=CHECKPOINT)
