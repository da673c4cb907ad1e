"""Shows what a model is made of: stages, blocks, parameters, MACs.

    python scripts/summarize.py --model efficientnet_b4

`--model all` shows the family beside the paper's Table 2. Starts at once: it does not load JAX.
"""

import json

from absl import flags

from effnet_jax import cli, summary

MODEL = flags.DEFINE_string(
    "model", None, "MODEL: efficientnet_b0 ... efficientnet_l2, resnet50, resnet152, densenet201, or all."
)
RESOLUTION = flags.DEFINE_integer("resolution", None, "PIXELS: Side of the images. Default: as published.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "CLASSES: Width of the classifier.", lower_bound=1)
WIDTH = flags.DEFINE_float("width_multiplier", 1.0, "X: On top of the named model's own; of DenseNet's growth rate.")
DEPTH = flags.DEFINE_float("depth_multiplier", 1.0, "X: On top of the named model's own; blocks are rounded up.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "IMAGES: Batch size for the activation memory.", lower_bound=1)
BLOCKS = flags.DEFINE_bool("blocks", True, "Show every block and not only the stages.")
JSON = flags.DEFINE_bool("json", False, "Print JSON.")


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


PROGRAM = cli.Program(main, needed=(MODEL,))
