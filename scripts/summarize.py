"""Shows what a model is made of: python scripts/summarize.py --model efficientnet_b4

`--model all` shows the family beside the paper's Table 2. Starts at once: it does not load JAX.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from effnet_jax import cli, summary

MODEL = flags.DEFINE_string(
    "model", None, "efficientnet_b0 ... efficientnet_l2, resnet50, resnet152, densenet201, or all."
)
RESOLUTION = flags.DEFINE_integer("resolution", None, "Input side in pixels; default as published.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "Width of the classifier.", lower_bound=1)
WIDTH = flags.DEFINE_float("width_multiplier", 1.0, "On top of the named model's own; of DenseNet's growth rate.")
DEPTH = flags.DEFINE_float("depth_multiplier", 1.0, "On top of the named model's own; blocks are rounded up.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "For the activation memory.", lower_bound=1)
BLOCKS = flags.DEFINE_bool("blocks", True, "Show every block and not only the stages.")
JSON = flags.DEFINE_bool("json", False, "Print JSON.")
flags.mark_flag_as_required("model")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    scaling = (RESOLUTION.value, NUM_CLASSES.value, WIDTH.value, DEPTH.value)
    if MODEL.value == "all":
        family = summary.family(*scaling)
        print(json.dumps(summary.family_json(family)) if JSON.value else summary.family_table(family))
    else:
        one = summary.summarize(MODEL.value, *scaling)
        table = summary.as_table(one, BATCH_SIZE.value, BLOCKS.value)
        print(json.dumps(summary.as_json(one)) if JSON.value else table)


if __name__ == "__main__":
    cli.run(main)
