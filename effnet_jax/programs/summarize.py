"""Shows what a model is made of: stages, blocks, parameters, MACs.

    python scripts/summarize.py --model efficientnet_b4

`--model all` shows the family beside the paper's Table 2; both start at once, without JAX. With a checkpoint, or with
--arrays, it shows every array instead; those of a checkpoint with mean and standard deviation.
"""

import json

from absl import flags

from effnet_jax import cli
from effnet_jax.architecture import summary
from effnet_jax.errors import UserError

CHECKPOINT = cli.checkpoint(needed=False)
MODEL = flags.DEFINE_string(
    "model",
    None,
    "MODEL: efficientnet_b0 ... efficientnet_l2, resnet50, resnet152, densenet201, or all. Default: the checkpoint's.",
)
RESOLUTION = flags.DEFINE_integer("resolution", None, "PIXELS: Side of the images. Default: as published.")
NUM_CLASSES = flags.DEFINE_integer("num_classes", 1000, "CLASSES: Width of the classifier.", lower_bound=1)
WIDTH = flags.DEFINE_float("width_multiplier", 1.0, "X: On top of the named model's own; of DenseNet's growth rate.")
DEPTH = flags.DEFINE_float("depth_multiplier", 1.0, "X: On top of the named model's own; blocks are rounded up.")
CHANNELS = flags.DEFINE_integer("in_channels", 3, "CHANNELS: Of an image.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "IMAGES: Batch size for the activation memory.", lower_bound=1)
BLOCKS = flags.DEFINE_bool("blocks", True, "Show every block and not only the stages.")
ARRAYS = flags.DEFINE_bool("arrays", False, "Show the name, shape and size of every array.")
WEIGHTS = cli.weights()
JSON = flags.DEFINE_bool("json", False, "Print JSON.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    if (MODEL.value is None) == (CHECKPOINT.value is None):
        raise UserError("give --model, its name, or a checkpoint, and not both")
    show_arrays = ARRAYS.value or CHECKPOINT.value is not None
    if show_arrays and (JSON.value or MODEL.value == "all"):
        raise UserError("arrays are shown as a table, of one model: leave --json and --model all out")
    options = (RESOLUTION.value, NUM_CLASSES.value, WIDTH.value, DEPTH.value, CHANNELS.value)
    if show_arrays:
        from effnet_jax.inference import arrays

        if CHECKPOINT.value is not None:
            print(arrays.of_checkpoint(CHECKPOINT.value, WEIGHTS.value))
        else:
            print(arrays.of_model(MODEL.value, *options[1:]))
    elif MODEL.value == "all":
        family = summary.family(*options)
        print(json.dumps(summary.family_json(family)) if JSON.value else summary.family_table(family))
    else:
        one = summary.summarize(MODEL.value, *options)
        table = summary.as_table(one, BATCH_SIZE.value, BLOCKS.value)
        print(json.dumps(summary.as_json(one)) if JSON.value else table)


PROGRAM = cli.Program(main, first=CHECKPOINT)
