"""Prepares a dataset, and looks at it: python scripts/prepare_data.py cifar100 --verify

NAME is cifar10, cifar100, digits, food101, imagenet2012 or folder:PATH. What was killed goes on where it stopped.
Exit code 1 when --verify finds something wrong.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

DATA_DIR = flags.DEFINE_string("data_dir", "", "Prepared TFDS data; default TFDS_DATA_DIR, ~/tensorflow_datasets.")
MANUAL_DIR = flags.DEFINE_string("manual_dir", "", "Folder with the original archives; default: download.")
VERIFY = flags.DEFINE_bool("verify", False, "Decode every image: damage, duplicates, balance; a table, JSON, a PNG.")
SHOW = flags.DEFINE_bool("show_augmented", False, "Draw some images under every augmentation, into a PNG.")
OUTPUT = flags.DEFINE_string("output", "", "Folder of what is written; default runs/data/<name>.")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise UserError("name one dataset: cifar10, cifar100, digits, food101, imagenet2012 or folder:PATH")
    from effnet_jax import preparation

    source = preparation.prepare(arguments[0], DATA_DIR.value, MANUAL_DIR.value)
    print(preparation.describe(source))
    output = pathlib.Path(OUTPUT.value or preparation.default_output(source))
    if SHOW.value:
        print(preparation.show_augmented(source, output))
    if not VERIFY.value:
        return cli.EXIT_OK
    table, is_right = preparation.look_at(source, output)
    print(table)
    print(f"{output}/{preparation.RECORD}, {output}/{preparation.SAMPLES}")
    return cli.EXIT_OK if is_right else cli.EXIT_SOME_INPUTS_FAILED


if __name__ == "__main__":
    cli.run(main)
