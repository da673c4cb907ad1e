"""One axis against compound scaling at equal cost (Table 7, Figure 8 of the paper), small networks trained to the end.

python scripts/scaling_study.py --config configs/study_single_axis_cpu.py --dry_run     # the models
python scripts/scaling_study.py --config configs/study_single_axis_cpu.py

Depth, width, resolution and the paper's compound proportions, each at four times the MACs of small_cifar100 (counted,
within 5 %), 20 epochs, three seeds. Beside them, with one seed, the paper's own multipliers, whose costs differ
(its resolution of 2 is the matched one).
Result, of the test images (results/study_single_axis_cpu): with 3 seeds resolution_matched 68.3 %, compound_matched
63.2 %, width_matched 60.2 %, baseline 55.7 %, depth_matched 53.6 %; with 1 seed compound 63.1 %, width 60.8 %, depth
53.5 %.
"""

import ml_collections

from configs import small_cifar100, study_single_axis
from configs.study_single_axis import member


def get_config() -> ml_collections.ConfigDict:
    config = study_single_axis.get_config()
    config.study.seeds = (0, 1, 2)
    config.study.match_tolerance = 0.05
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    members.baseline = member()
    members.resolution_matched = member(match="resolution", factor=4.0)
    members.depth_matched = member(match="depth", factor=4.0)
    members.width_matched = member(match="width", factor=4.0)
    members.compound_matched = member(depth=1.2**2, resolution=1.15**2, match="width", factor=4.0)
    members.depth = member(depth=4.0, seeds=1)
    members.width = member(width=2.0, seeds=1)
    members.compound = member(depth=1.4, width=1.2, resolution=1.3, seeds=1)
    config.train = small_cifar100.get_config()
    return config
