"""Trains the models of a scaling study.

    python scripts/scaling_study.py --config configs/study_single_axis.py

`--dry_run` shows the models and trains nothing. The same command goes on after a stop, or with the same
--storage on another machine joins the study. scripts/report.py makes the report again at any time.
"""

from absl import flags

from effnet_jax import cli
from effnet_jax.study import members

CONFIG = cli.config("The study")
STUDY = cli.StudyFlags(CONFIG)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the models and train nothing.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    if DRY_RUN.value:
        print(members.as_table(members.members(config.study, config.train)))
        return
    from effnet_jax import report
    from effnet_jax.study import scaling_study

    scaling_study.run(config, STUDY.workdir, **STUDY.options)
    print(report.write(STUDY.workdir, STUDY.workdir / "report"))


PROGRAM = cli.Program(main, config="study_single_axis")
