"""Goes on with all that results/ shows, in order of worth.

    python scripts/results.py

Finished runs have records in results/ and are not trained again, on any machine. A stop loses nothing; the same command
goes on. `--dry_run` says what is done, what is left and how long that takes.
"""

import pathlib

from absl import flags

from effnet_jax import cli

CONFIG = cli.config("What belongs to it")
WORKDIR = flags.DEFINE_string("workdir", "runs/results", "FOLDER: Folder of the runs.")
RESULTS = flags.DEFINE_string("results", "results", "FOLDER: Folder of the records and reports.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what is done and what is left.")
DRAW = flags.DEFINE_bool("draw", False, "Draw accuracy over multiply-adds from the records, and train nothing.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    queue = cli.loaded(CONFIG)
    from effnet_jax.process import environment
    from effnet_jax.report import overview
    from effnet_jax.study import reproduction

    folder = pathlib.Path(RESULTS.value)
    if DRAW.value:
        print(overview.write(folder) or f"no finished runs in {folder}")
        return
    listed = reproduction.items(queue, folder)
    print(reproduction.status(listed, environment.hardware()), flush=True)
    if DRY_RUN.value:
        return
    for item in reproduction.go_on(listed, pathlib.Path(WORKDIR.value), folder):
        print(f"{item.name} is done\n{reproduction.status(listed, environment.hardware())}", flush=True)


PROGRAM = cli.Program(main, config="results")
