"""A reduced study_single_axis on real CIFAR-100 for a machine without an accelerator: small nets, few steps.

python scripts/scaling_study.py --config configs/study_single_axis_cpu.py

The baseline is the one of grid_search_cpu, half of B0's width and depth, trained for 250 steps (0.7 epochs) with
one seed: 50 minutes on 2 cores beside other work. Maps of such small nets change in coarse steps, so costs are matched
to 10 % instead of 3 %. It shows how the study works; it says little about trained EfficientNets.
Result: resolution 14.5 %, width 12.2 %, compound 10.9 %, depth 2.9 %, the baseline 11.1 % of the validation images;
results/study_single_axis_cpu.
"""

import ml_collections

from configs import grid_search_cpu, study_single_axis


def get_config() -> ml_collections.ConfigDict:
    config = study_single_axis.get_config()
    config.study.seeds = (0,)
    config.study.match_tolerance = 0.1
    config.train = grid_search_cpu.get_config().train
    return config
