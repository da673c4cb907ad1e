"""The search for alpha, beta and gamma (paper section 3.3) with B0 on CIFAR-100, for an accelerator.

python scripts/grid_search.py --config configs/grid_search.py --dry_run     # the candidates
python scripts/grid_search.py --config configs/grid_search.py

Every candidate is trained three times for 30 epochs by the recipe of b0_cifar100. Overrides:
`--config.search.step=0.1 --config.train.num_epochs=60`.
"""

import ml_collections

from configs import b0_cifar100


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.search = search = ml_collections.ConfigDict()
    search.points = ()  # the candidates' (alpha, beta, gamma), one by one; empty: all of the grid
    search.step = 0.05  # of the grid, counted from 1 on each axis
    search.minimum = (1.0, 1.0, 1.0)  # smallest alpha, beta and gamma
    search.constraint = "formula"  # alpha beta^2 gamma^2, or "macs": the real factor on the MACs
    search.target = 2.0
    search.tolerance = 0.1  # the paper's (1.2, 1.1, 1.15) gives 1.92
    search.phi = 1.0
    search.seeds = (0, 1, 2)
    search.pruner = ""  # "successive_halving" stops what falls behind at its validations
    config.train = b0_cifar100.get_config()  # the baseline's run, which the coefficients scale
    return config
