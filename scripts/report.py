"""Tables and figures from runs on disk: python scripts/report.py --runs runs/study_family --output results/family

Reads the workdir of a scaling study or a grid search, or a folder of runs under one recipe. Trains nothing.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import flags

from effnet_jax import cli

RUNS = flags.DEFINE_string("runs", None, "Workdir of a study or of a search, or a folder of runs.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the report.")
flags.mark_flags_as_required(["runs", "output"])


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax import report

    print(report.write(RUNS.value, OUTPUT.value))


if __name__ == "__main__":
    cli.run(main)
