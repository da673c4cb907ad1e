"""Measures speed and memory, beside other implementations.

    python scripts/benchmark.py --peers naive,timm

`--suite cpu` or `--suite gpu` runs everything that results/benchmark_cpu.md and _gpu.md show; `make benchmark`
does so with every peer installed. `--compile_for h100` measures nothing: a GPU's compiler counts kernels, bytes and
memory of training steps, of those that results/gpu.md shows or of the one of `--config`, on any machine; so does a
TPU's with `--compile_for v5e`, or `v5e:2x2` for four chips.

`--cam` measures class activation maps beside pytorch-grad-cam, and
`--sections data --resolution 224 --photographs FOLDER` the decoding of photographs beside torchvision and tf.data.
"""

import datetime
import json
import pathlib
import sys
from typing import Any

from absl import flags

from effnet_jax import cli
from effnet_jax.benchmark import counts, report, run
from effnet_jax.benchmark.accelerators import ACCELERATORS
from effnet_jax.benchmark.case import DTYPES, FOOTPRINTS, MODES, PEERS, SUITES, cases, check_names, check_peers
from effnet_jax.errors import UserError
from effnet_jax.process import atomic, invocation, runtime

SECTIONS = ("steps", "startup", "memory", "footprint", "loop", "augment", "data", "operations", "depthwise")

MODEL = flags.DEFINE_string("model", "efficientnet_b0", "MODEL: Name of the model, as summarize has it.")
MODE = flags.DEFINE_list("mode", list(MODES), "MODE,...: train, inference or both.")
BATCH_SIZE = flags.DEFINE_multi_integer("batch_size", [32], "IMAGES: Images a step.")
RESOLUTION = flags.DEFINE_multi_integer("resolution", [64], "PIXELS: Side of the images.")
DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "Compute dtype.")
REMAT = flags.DEFINE_bool("remat", False, "Recompute blocks in the backward pass (ours only).")
PEER_NAMES = flags.DEFINE_list("peers", [], f"PEER,...: Any of {', '.join(PEERS)}. Default: none.")
SUITE = flags.DEFINE_enum(
    "suite",
    None,
    list(SUITES),
    "A fixed set of cases and all sections. Default: the case that the other options describe.",
)
SECTION_NAMES = flags.DEFINE_list(
    "sections", None, f"SECTION,...: Any of {', '.join(SECTIONS)}. Default: steps, or all of a suite."
)
CAM = flags.DEFINE_bool("cam", False, "Measure class activation maps, beside pytorch-grad-cam if it is installed.")
DEVICE = flags.DEFINE_enum("device", None, ("cpu", "gpu", "tpu"), "Where to run. Default: JAX's choice.")
ROUNDS = flags.DEFINE_integer("rounds", 9, "N: Turns of each implementation.", lower_bound=1)
ROUND_SECONDS = flags.DEFINE_float("round_seconds", 2.0, "SECONDS: Length of a turn, about.", lower_bound=0.0)
COMPILE_FOR = flags.DEFINE_enum(
    "compile_for", None, list(ACCELERATORS), "Count what training steps would do there. Default: measure here."
)
CONFIG = cli.config("Whose training step --compile_for counts", default="those of results/gpu.md")
PHOTOGRAPHS = flags.DEFINE_string(
    "photographs", None, "FOLDER: Folder of images for the section data. Default: the two of scikit-learn."
)
PROFILE = flags.DEFINE_string(
    "profile", None, "FOLDER: Keep a trace of our step there, for TensorBoard and Perfetto. Default: none."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "FILE: Also write the report there, .md, the data beside it, .json. Default: neither."
)
JSON = flags.DEFINE_bool("json", False, "Print JSON.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    if CONFIG.value is not None and not COMPILE_FOR.value:
        raise UserError("--config is for --compile_for; what is measured here is said by --model and --batch_size")
    if COMPILE_FOR.value:
        configs = counts.default_steps(COMPILE_FOR.value) if CONFIG.value is None else [cli.loaded(CONFIG)]
        rows = counts.count(configs, COMPILE_FOR.value, say)
        print(json.dumps(rows) if JSON.value else counts.markdown(rows, COMPILE_FOR.value))
        return
    check_names("section", SECTION_NAMES.value or [], SECTIONS)
    check_peers(PEER_NAMES.value)
    if SUITE.value:
        chosen = SUITES[SUITE.value]
    else:
        chosen = cases(MODEL.value, MODE.value, BATCH_SIZE.value, RESOLUTION.value, DTYPE.value, REMAT.value)
    if DEVICE.value:
        runtime.select_platform(DEVICE.value)
    by_default = list(SECTIONS) if SUITE.value else [] if CAM.value else ["steps"]
    wanted = [*(SECTION_NAMES.value or by_default), *(["cam"] if CAM.value else [])]
    if PROFILE.value and "operations" not in wanted:
        wanted.append("operations")
    about = {"command": invocation.command(), "date": datetime.date.today().isoformat()}
    data = run.run(
        chosen,
        PEER_NAMES.value,
        wanted,
        rounds=ROUNDS.value,
        round_seconds=ROUND_SECONDS.value,
        trace_folder=PROFILE.value,
        photographs=PHOTOGRAPHS.value,
        footprints=FOOTPRINTS if SUITE.value else list({(c.batch_size, c.resolution): c for c in chosen}.values()),
        say=say,
        keep=lambda found: keep(found | about),
    )
    data |= about
    print(json.dumps(data) if JSON.value else report.markdown(data))


def say(line: str) -> None:
    """Shows a line of progress."""
    print(line, file=sys.stderr, flush=True)


def keep(data: dict[str, Any]) -> None:
    """Writes what is known so far where --output says."""
    if OUTPUT.value:
        path = pathlib.Path(OUTPUT.value)
        texts = {".json": json.dumps(data, indent=1) + "\n", ".md": report.markdown(data)}
        for suffix, text in texts.items():
            with atomic.whole_file(path.with_suffix(suffix)) as file:
                file.write(text.encode())


PROGRAM = cli.Program(main)
