"""Prepares a data set, and looks at it.

    python scripts/prepare_data.py cifar100 --verify

NAME is cifar10, cifar100, digits, food101, imagenet2012, folder:PATH or tfds:NAME. What was killed goes on where it
stopped. Exit code 1 when --verify finds something wrong.
"""

import pathlib

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "FOLDER: Prepared TFDS data. Default: TFDS_DATA_DIR, else ~/tensorflow_datasets."
)
MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", "", "FOLDER: Folder with the original archives. Default: they are downloaded."
)
VERIFY = flags.DEFINE_bool("verify", False, "Decode every image: damage, duplicates, balance; a table, JSON, a PNG.")
SHOW = flags.DEFINE_bool("show_augmented", False, "Draw some images under every augmentation, into a PNG.")
OUTPUT = flags.DEFINE_string("output", "", "FOLDER: Folder of what is written. Default: runs/data/<name>.")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise UserError("name one dataset: cifar10, cifar100, digits, food101, imagenet2012, folder:PATH or tfds:NAME")
    from effnet_jax.data.inspect import session

    source = session.prepare(arguments[0], DATA_DIR.value, MANUAL_DIR.value)
    print(session.describe(source))
    output = pathlib.Path(OUTPUT.value or session.default_output(source))
    if SHOW.value:
        print(session.show_augmented(source, output))
    if not VERIFY.value:
        return cli.EXIT_OK
    table, is_right = session.look_at(source, output)
    print(table)
    print(f"{output}/{session.RECORD}, {output}/{session.SAMPLES}")
    return cli.EXIT_OK if is_right else cli.EXIT_SOME_INPUTS_FAILED


PROGRAM = cli.Program(main, rest="NAME")
