"""Searches for the compound coefficients alpha, beta and gamma.

    python scripts/grid_search.py --config configs/grid_search.py

Without --config it is this search, or where there is no accelerator that of configs/grid_search_cpu.py.
`--dry_run` shows the candidates and trains nothing. The same command goes on after a stop, or with the same
--storage on another machine joins the search.
"""

import json
import sys

from absl import flags

from effnet_jax import cli
from effnet_jax.process import runtime
from effnet_jax.search import candidates

DEFAULT = "grid_search" if runtime.accelerator_is_there() else "grid_search_cpu"
CONFIG = cli.config("The search")
STUDY = cli.StudyFlags(CONFIG)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Show the candidates and train nothing.")
JSON = flags.DEFINE_bool("json", False, "With --dry_run: print JSON.")


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    config = cli.loaded(CONFIG)
    if flags.FLAGS[CONFIG.name].using_default_value and not runtime.accelerator_is_there():
        print(
            f"search    of configs/{DEFAULT}.py, with a small network: there is no accelerator here; "
            "--config configs/grid_search.py is that with B0, months on a CPU",
            file=sys.stderr,
        )
    if DRY_RUN.value:
        found = candidates.candidates(config.search, config.train)
        print(json.dumps(candidates.as_json(found)) if JSON.value else candidates.as_table(found))
        return
    from effnet_jax.search import grid_search

    grid_search.search(config, STUDY.workdir, **STUDY.options)
    print(f"{STUDY.workdir}/grid_search.md")


PROGRAM = cli.Program(main, config=DEFAULT)
