"""Imports weights, e.g. --from=timm --weights=model.safetensors --model=tf_efficientnet_b4 --output=runs/b4"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from effnet_jax import cli
from effnet_jax.pretrained.registry import SOURCES

SOURCE = flags.DEFINE_enum("from", None, list(SOURCES), "Whose weights.")
WEIGHTS = flags.DEFINE_string("weights", None, "Weight file.")
MODEL = flags.DEFINE_string(
    "model", None, "The model's name there: efficientnet_bX, tf_efficientnet_bX (timm), resnet50, ..."
)
OUTPUT = flags.DEFINE_string("output", None, "Folder to make.")
ALLOW_MISSING = flags.DEFINE_string("allow_missing", "", "Regular expression of tensors the file may lack.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Where the file has no classifier.", lower_bound=1)
CLASS_NAMES = flags.DEFINE_string("class_names", "", "File with one class name a line.")
SIDE = flags.DEFINE_integer("resolution", None, "Pixels the model sees; default as the source evaluates.")
CROP = flags.DEFINE_float("crop_fraction", None, "Share of the shorter side kept; default likewise.")
flags.mark_flags_as_required(["from", "weights", "model", "output"])


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.pretrained import importer

    imported = importer.import_weights(
        SOURCE.value, pathlib.Path(WEIGHTS.value), MODEL.value, allow_missing=ALLOW_MISSING.value,
        num_classes=NUM_CLASSES.value, class_names_file=CLASS_NAMES.value,
        resolution=SIDE.value, crop_fraction=CROP.value,
    )  # fmt: skip
    importer.write(imported, pathlib.Path(OUTPUT.value))
    print(imported.report(), OUTPUT.value, sep="\n")


if __name__ == "__main__":
    cli.run(main)
