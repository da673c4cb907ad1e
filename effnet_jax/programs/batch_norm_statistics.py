"""Measures how far BatchNorm's moving statistics lag behind.

    python scripts/batch_norm_statistics.py --output batch_norm_statistics.md

Trains for a few epochs; after each, raw and averaged weights are validated with plain momentum, with the ramp and with
statistics computed anew.
"""

import pathlib

from absl import flags

from effnet_jax import cli

CONFIG = cli.config("What to train")
EPOCHS = flags.DEFINE_integer("epochs", 3, "EPOCHS: Epochs to train.", lower_bound=1)
OUTPUT = flags.DEFINE_string(
    "output", "batch_norm_statistics.md", "FILE: Markdown file to write; the JSON goes beside it."
)


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.process import environment
    from effnet_jax.study import batch_norm

    config, commit = cli.loaded(CONFIG), environment.commit()  # the checkout may change meanwhile
    output = pathlib.Path(OUTPUT.value)
    batch_norm.write(batch_norm.measure(config, EPOCHS.value), config, commit, output)
    print(output)


PROGRAM = cli.Program(main, config="b0_cifar100")
