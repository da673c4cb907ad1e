"""Shows where a model looks: class activation maps.

    python scripts/cam.py --checkpoint runs/b0_cifar100 --images cat.jpg folder/

Without --images, a sample of the test split. Writes overlays, raw maps, cam.json and a contact sheet, the path of
which is the last line. Files that cannot be read are named on stderr and skipped; the exit code is then 1.
"""

import pathlib
import sys

from absl import flags

from effnet_jax import cli

CHECKPOINT = cli.checkpoint(several=True)
IMAGES = flags.DEFINE_multi_string(
    "images", [], "IMAGE: Files, folders or patterns; more may follow after a space. Default: a sample of a split."
)
METHOD = flags.DEFINE_list(
    "method",
    ["grad_cam"],
    "METHOD,...: cam, grad_cam, grad_cam_plus_plus, xgrad_cam, hires_cam, layer_cam, eigen_cam, score_cam, "
    "input_gradients, integrated_gradients.",
)
LAYER = flags.DEFINE_string("layer", None, "LAYER: A layer of the model, such as stage5. Default: the head map.")
TARGET = flags.DEFINE_string(
    "target", "prediction", "TARGET: Class to explain: prediction, label, a class by name or index, or A:B (A not B)."
)
TOP_K = flags.DEFINE_integer("top_k", 1, "CLASSES: A map for each of so many most probable classes.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "runs/cam", "FOLDER: Folder for the pictures.")
MAPS_ONLY = flags.DEFINE_bool("maps_only", False, "Leave the images, which may not be yours to pass on, out.")
EVALUATE = flags.DEFINE_bool("evaluate", False, "Measure faithfulness, beside maps that know nothing.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "Without --images: what to sample.")
NUM_IMAGES = flags.DEFINE_integer("num_images", 16, "IMAGES: Without --images: so many are drawn.", lower_bound=1)
EVALUATE_IMAGES = flags.DEFINE_integer(
    "evaluate_images", 200, "IMAGES: Without --images: so many are measured by --evaluate.", lower_bound=2
)
SANITY_IMAGES = flags.DEFINE_integer(
    "sanity_images", 32, "IMAGES: Images of the weight randomisation of --evaluate.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "N: Seed of the sample and of the controls.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "IMAGES: Images at a time.", lower_bound=1)
WEIGHTS = cli.weights()
DATA_DIR = cli.data_dir()


def main(arguments: list[str]) -> int:
    if arguments and not IMAGES.value:
        cli.refuse(arguments)
    from effnet_jax.cam import session
    from effnet_jax.cam.wishes import Wish

    result = session.run(
        session.Request(
            checkpoints=CHECKPOINT.value,
            images=[*IMAGES.value, *arguments],
            methods=METHOD.value,
            layer=LAYER.value,
            wish=Wish(TARGET.value, TOP_K.value),
            output=pathlib.Path(OUTPUT.value).expanduser(),
            maps_only=MAPS_ONLY.value,
            evaluate=EVALUATE.value,
            split=SPLIT.value,
            num_images=NUM_IMAGES.value,
            evaluate_images=EVALUATE_IMAGES.value,
            sanity_images=SANITY_IMAGES.value,
            seed=SEED.value,
            batch_size=BATCH_SIZE.value,
            weights=WEIGHTS.value,
            data_dir=DATA_DIR.value,
        )
    )
    print(*filter(None, [result.table]), result.sheet, sep="\n")
    if result.failures:
        print(*result.failures, f"{len(result.failures)} images were skipped", sep="\n", file=sys.stderr)
    return cli.EXIT_SOME_INPUTS_FAILED if result.failures else cli.EXIT_OK


PROGRAM = cli.Program(main, needed=(CHECKPOINT,), first=CHECKPOINT)
