"""What results/ shows, in order of worth: python scripts/results.py goes on with whatever of it is not done.

Each is the name of a file in configs/: a run with so many seeds, a search, or a study.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.runs = (("half_b0_cifar100", 2), ("b0_cifar100", 2))
    config.studies = (
        "grid_search_cpu",
        "study_baselines_cpu",
        "study_family_cpu",
        "study_single_axis_cpu",
    )
    return config
