"""Names on disk of a search or a study, for those who write them and those who report them. Imports no JAX."""

RUNS = "runs"  # folder of the runs, in the workdir
SEARCH_FILE = "grid_search.json"
STUDY_FILE = "study.json"


def run_name(member: str, seed: int) -> str:
    """Returns the name of the run of one model with one seed, which is its folder's under `RUNS` too."""
    return f"{member}_seed{seed}"
