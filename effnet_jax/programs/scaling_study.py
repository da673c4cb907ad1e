"""Trains the models of a scaling study.

    python scripts/scaling_study.py --config configs/study_single_axis.py

`--dry_run` shows the models and trains nothing. The same command goes on after a stop, or with the same
--storage on another machine joins the study. scripts/report.py makes the report again at any time.
"""

from absl import flags

from effnet_jax import cli
from effnet_jax.study import members

CONFIG = cli.config("The study")
WORKDIR = flags.DEFINE_string("workdir", None, "FOLDER: Folder of the study. Default: runs/<name of the config>.")
STORAGE = flags.DEFINE_string(
    "storage", "", "URL: Of an Optuna storage, such as postgresql://host/name. Default: SQLite in the workdir."
)
RECORDS = flags.DEFINE_string(
    "records", None, "FOLDER: Records of finished runs. Default: results/<name of the config>/runs; empty: none."
)
RETRY = flags.DEFINE_bool("retry_failed", False, "Try again what failed in earlier starts.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the models and train nothing.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    if DRY_RUN.value:
        print(members.as_table(members.members(config.study, config.train)))
        return
    from effnet_jax import report
    from effnet_jax.study import scaling_study

    folder = cli.workdir(WORKDIR, CONFIG)
    scaling_study.run(
        config, folder, storage_url=STORAGE.value, records=cli.records(RECORDS, CONFIG), retry_failed=RETRY.value
    )
    print(report.write(folder, folder / "report"))


PROGRAM = cli.Program(main, config="study_single_axis")
