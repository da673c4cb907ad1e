"""Measures how far BatchNorm's moving statistics lag behind: python scripts/batch_norm_statistics.py --output FILE.md

Trains for a few epochs; after each, raw and averaged weights are validated with plain momentum, with the ramp and with
statistics computed anew.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags
from ml_collections import config_flags

from effnet_jax import cli

CONFIG = config_flags.DEFINE_config_file("config", "configs/b0_cifar100.py", "--config.key=value overrides.")
EPOCHS = flags.DEFINE_integer("epochs", 3, "How many to train.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "batch_norm_statistics.md", "Markdown; the JSON goes beside it.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax import environment
    from effnet_jax.study import batch_norm

    config, commit = cli.loaded(CONFIG), environment.commit()  # the checkout may change meanwhile
    output = pathlib.Path(OUTPUT.value)
    batch_norm.write(batch_norm.measure(config, EPOCHS.value), config, commit, output)
    print(output)


if __name__ == "__main__":
    cli.run(main)
