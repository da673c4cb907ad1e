"""Evaluates a checkpoint on the data set it was trained on.

    python scripts/evaluate.py runs/b0_cifar100 --split test

Prints one JSON object.
"""

import json

from absl import flags

from effnet_jax import cli

CHECKPOINT = cli.checkpoint()
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which split.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 512, "IMAGES: Images at a time.", lower_bound=1)
WEIGHTS = cli.weights()
DATA_DIR = cli.data_dir()
CLUSTER = cli.ClusterFlags()


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.process.distributed import is_first
    from effnet_jax.training.evaluation import evaluate_checkpoint

    with CLUSTER.joined():
        figures = evaluate_checkpoint(CHECKPOINT.value, SPLIT.value, BATCH_SIZE.value, WEIGHTS.value, DATA_DIR.value)
    if is_first():
        print(json.dumps(figures))


PROGRAM = cli.Program(main, needed=(CHECKPOINT,), first=CHECKPOINT)
