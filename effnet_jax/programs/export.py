"""Exports a model as StableHLO.

    python scripts/export.py runs/b0_cifar100 --output model.stablehlo

The file maps uint8 images of one size, any number of them, to probabilities, and runs with jax alone.
"""

import pathlib

from absl import flags

from effnet_jax import cli

CHECKPOINT = cli.checkpoint()
OUTPUT = flags.DEFINE_string("output", None, "FILE: File to write.")
INPUT_SIZE = flags.DEFINE_integer("input_size", None, "PIXELS: Side of the images. Default: what needs no resizing.")
RESULT = flags.DEFINE_enum("result", "probabilities", ["probabilities", "logits"], "What the file computes.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.export import stablehlo
    from effnet_jax.inference import classifier
    from effnet_jax.process.atomic import whole_file

    net = classifier.load(CHECKPOINT.value)
    side = INPUT_SIZE.value or stablehlo.natural_input_size(net)
    content = stablehlo.serialize(net, side, RESULT.value)
    with whole_file(pathlib.Path(OUTPUT.value)) as file:
        file.write(content)
    print(f"uint8 [N, {side}, {side}, {net.preprocess.channels}] -> float32 [N, {len(net.labels)}] {RESULT.value}")
    print("from jax import export; export.deserialize(open(path, 'rb').read()).call(images)")
    print(OUTPUT.value)


PROGRAM = cli.Program(main, needed=(CHECKPOINT, OUTPUT), first=CHECKPOINT)
