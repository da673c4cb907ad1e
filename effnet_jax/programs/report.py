"""Makes tables and figures from runs on disk; trains nothing.

    python scripts/report.py --runs runs/study_family --output results/family

Reads the workdir of a scaling study or a grid search, or a folder of runs under one recipe.
"""

from absl import flags

from effnet_jax import cli

RUNS = flags.DEFINE_string("runs", None, "FOLDER: Workdir of a study or of a search, or a folder of runs.")
OUTPUT = flags.DEFINE_string("output", None, "FOLDER: Folder for the report.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax import report

    print(report.write(RUNS.value, OUTPUT.value))


PROGRAM = cli.Program(main, needed=(RUNS, OUTPUT), first=RUNS)
