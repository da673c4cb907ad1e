"""Evaluates a checkpoint: python scripts/evaluate.py --checkpoint runs/b0_cifar100 --split test

Prints one JSON object. The data set is the one the checkpoint was trained on.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from effnet_jax import cli

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A run's workdir, its checkpoints folder, or one step.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Which split.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 512, "Images at a time.", lower_bound=1)
WEIGHTS = flags.DEFINE_enum(
    "weights", "selected", ["selected", "raw", "ema"], "selected: whichever did better on validation."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Prepared TFDS data; default as in the run's config.")
CLUSTER = cli.ClusterFlags()
flags.mark_flag_as_required("checkpoint")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.distributed import is_first
    from effnet_jax.training.evaluation import evaluate_checkpoint

    with CLUSTER.joined():
        figures = evaluate_checkpoint(CHECKPOINT.value, SPLIT.value, BATCH_SIZE.value, WEIGHTS.value, DATA_DIR.value)
    if is_first():
        print(json.dumps(figures))


if __name__ == "__main__":
    cli.run(main)
