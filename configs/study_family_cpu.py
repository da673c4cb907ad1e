"""The family beside its baselines at equal cost (Figure 1, Table 8 of the paper), small networks trained to the end.

python scripts/scaling_study.py --config configs/study_family_cpu.py --dry_run     # the models
python scripts/scaling_study.py --config configs/study_family_cpu.py

phi 0, 1, 2 and 3 of the paper's coefficients on small_cifar100: 1, 2, 4 and 8 times its MACs, counted; the width is a
little above the formula's so that they are. ResNet-50, ResNet-152 and DenseNet-201 narrowed to four and eight times,
and a ResNet-50 of fewer, wider blocks. 20 epochs, two seeds.
"""

import ml_collections

from configs import small_cifar100, study_family
from configs.study_single_axis import member

ALPHA, GAMMA = 1.2, 1.15  # of the paper; beta follows from the cost


def get_config() -> ml_collections.ConfigDict:
    config = study_family.get_config()
    config.study.seeds = (0, 1)
    config.study.match_tolerance = 0.07  # a narrow DenseNet changes its growth rate in coarse steps
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    for phi in range(4):
        scaled = {"depth": ALPHA**phi, "resolution": GAMMA**phi}
        members[f"phi{phi}"] = member(**scaled, match="width", factor=2.0**phi) if phi else member()
    for name, depth in (("resnet50", 1.0), ("resnet50_shallow", 0.3), ("resnet152", 1.0), ("densenet201", 1.0)):
        for factor in (4, 8):
            members[f"{name}_{factor}x"] = member(
                name.removesuffix("_shallow"), depth=depth, match="width", factor=float(factor)
            )
    config.train = small_cifar100.get_config()
    config.train.eval_every_steps = 875  # five epochs
    config.train.checkpoint_every_steps = 875
    return config
