"""Imports weights of other implementations as a checkpoint.

    python scripts/import_weights.py --from timm --weights model.safetensors --model tf_efficientnet_b4 --output runs/b4

Says what was imported, then the path.
"""

import pathlib

from absl import flags

from effnet_jax import cli
from effnet_jax.pretrained.registry import SOURCES

SOURCE = flags.DEFINE_enum("from", None, list(SOURCES), "Whose weights.")
WEIGHTS = flags.DEFINE_string("weights", None, "FILE: Weight file, as that implementation saves it.")
MODEL = flags.DEFINE_string(
    "model", None, "MODEL: The model's name there: efficientnet_bX, tf_efficientnet_bX (timm), resnet50, ..."
)
OUTPUT = flags.DEFINE_string("output", None, "FOLDER: Folder to make.")
ALLOW_MISSING = flags.DEFINE_string(
    "allow_missing", "", "REGEX: Regular expression of tensors that the file may lack. Default: none."
)
NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", 1000, "CLASSES: Width of the classifier where the file has no classifier.", lower_bound=1
)
TAKE = flags.DEFINE_enum(
    "take",
    "selected",
    ["selected", "raw", "ema"],
    "Which weights, where the file has raw ones and averages (selected).",
)
CLASS_NAMES = flags.DEFINE_string(
    "class_names", "", "FILE: File with one class name a line. Default: as the source names them."
)
SIDE = flags.DEFINE_integer(
    "resolution", None, "PIXELS: Side of what the model sees. Default: as the source evaluates."
)
CROP = flags.DEFINE_float(
    "crop_fraction", None, "X: Share of the shorter side that is kept. Default: as the source evaluates."
)


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.inference import writing
    from effnet_jax.pretrained import importer

    imported = importer.import_weights(
        SOURCE.value, pathlib.Path(WEIGHTS.value), MODEL.value, allow_missing=ALLOW_MISSING.value,
        num_classes=NUM_CLASSES.value, class_names_file=CLASS_NAMES.value,
        resolution=SIDE.value, crop_fraction=CROP.value, weights=TAKE.value,
    )  # fmt: skip
    writing.write(imported, pathlib.Path(OUTPUT.value))
    print(imported.report(), OUTPUT.value, sep="\n")


PROGRAM = cli.Program(main, needed=(SOURCE, WEIGHTS, MODEL, OUTPUT))
