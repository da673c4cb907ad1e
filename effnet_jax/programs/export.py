"""Exports a model as StableHLO or ONNX.

    python scripts/export.py runs/b0_cifar100 --output model.stablehlo

The file maps images of one size, any number of them, to probabilities. StableHLO takes uint8 images and runs with jax
alone. ONNX takes normalised ones, or with --preprocessing uint8, and runs with onnxruntime.
"""

import pathlib
from typing import TYPE_CHECKING

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

if TYPE_CHECKING:
    from effnet_jax.inference.classifier import Classifier

CHECKPOINT = cli.checkpoint()
OUTPUT = flags.DEFINE_string("output", None, "FILE: File to write.")
KIND = flags.DEFINE_enum("to", "stablehlo", ["stablehlo", "onnx"], "What kind of file.")
INPUT_SIZE = flags.DEFINE_integer("input_size", None, "PIXELS: Side of the images. Default: what needs no resizing.")
RESULT = flags.DEFINE_enum("result", "probabilities", ["probabilities", "logits"], "What the file computes.")

PREPROCESSING = flags.DEFINE_bool("preprocessing", False, "ONNX: crop, resize and normalise uint8 images in the file.")
FOLD = flags.DEFINE_bool("fold_batch_norm", True, "ONNX: make each BatchNorm part of the convolution before it.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.inference import classifier
    from effnet_jax.process.atomic import whole_file

    content, lines = (_onnx if KIND.value == "onnx" else _stablehlo)(classifier.load(CHECKPOINT.value, fold=FOLD.value))
    with whole_file(pathlib.Path(OUTPUT.value)) as file:
        file.write(content)
    print(*lines, OUTPUT.value, sep="\n")


def _stablehlo(net: "Classifier") -> tuple[bytes, list[str]]:
    from effnet_jax.export import stablehlo

    side = INPUT_SIZE.value or stablehlo.natural_input_size(net)
    return stablehlo.serialize(net, side, RESULT.value), [
        f"uint8 [N, {side}, {side}, {net.preprocess.channels}] -> float32 [N, {len(net.labels)}] {RESULT.value}",
        "from jax import export; export.deserialize(open(path, 'rb').read()).call(images)",
    ]


def _onnx(net: "Classifier") -> tuple[bytes, list[str]]:
    try:
        from effnet_jax.export import onnx_file
    except ImportError as error:
        raise UserError(f"--to onnx needs one more package: pip install onnx ({error})") from error

    channels = net.preprocess.channels
    side = INPUT_SIZE.value or onnx_file.default_side(net, PREPROCESSING.value)
    content = onnx_file.serialize(
        net, side, RESULT.value, preprocessing=PREPROCESSING.value, fold_batch_norm=FOLD.value
    )
    takes = (
        f"uint8 [N, {side}, {side}, {channels}]" if PREPROCESSING.value else f"float32 [N, {channels}, {side}, {side}]"
    )
    return content, [
        f"{takes} -> float32 [N, {len(net.labels)}] {RESULT.value}",
        "onnxruntime.InferenceSession(path).run(None, {'images': images})",
    ]


PROGRAM = cli.Program(main, needed=(CHECKPOINT, OUTPUT), first=CHECKPOINT)
