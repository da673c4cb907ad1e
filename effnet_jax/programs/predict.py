"""Classifies images.

    python scripts/predict.py runs/b0_cifar100 cat.jpg folder/ --top_k 3

Files that cannot be read are named on stderr and skipped; the exit code is then 1.
"""

import json
import sys

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

CHECKPOINT = cli.checkpoint()
TOP_K = flags.DEFINE_integer("top_k", 5, "CLASSES: Classes shown for each image.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "IMAGES: Images at a time.", lower_bound=1)
JSON = flags.DEFINE_bool("json", False, "Print JSON: an array with path and predictions, or error, of each image.")


def main(arguments: list[str]) -> int:
    if not arguments:
        raise UserError("no image was given; name files or folders after the checkpoint")
    from effnet_jax.data.decode.image_files import find_images
    from effnet_jax.inference import classifier, predictions

    paths = find_images(arguments)
    found = predictions.records(classifier.load(CHECKPOINT.value), paths, TOP_K.value, BATCH_SIZE.value)
    said = json.dumps(found, indent=2) if JSON.value else predictions.as_table(found)
    if said:  # nothing where no image could be read
        print(said)
    failures = predictions.failures(found)
    if failures:
        print(*failures, f"{len(failures)} of {len(found)} images were skipped", sep="\n", file=sys.stderr)
    return cli.EXIT_SOME_INPUTS_FAILED if failures else cli.EXIT_OK


PROGRAM = cli.Program(main, needed=(CHECKPOINT,), first=CHECKPOINT, rest="IMAGE...")
