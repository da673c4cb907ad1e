"""Each axis by itself (Figure 3 of the paper) with B0 on CIFAR-100, for an accelerator.

python scripts/scaling_study.py --config configs/study_axes.py
"""

import ml_collections

from configs import study_single_axis
from configs.study_single_axis import member


def get_config() -> ml_collections.ConfigDict:
    config = study_single_axis.get_config()
    config.study.kind = "axes"
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    members.baseline = member()
    for width in (1.4, 1.8, 2.6, 3.8, 5.0):
        members[f"width_{width:g}".replace(".", "p")] = member(width=width)
    for depth in (2.0, 3.0, 4.0, 6.0, 8.0):
        members[f"depth_{depth:g}"] = member(depth=depth)
    for resolution in (1.3, 1.5, 1.7, 1.9, 2.2, 2.5):
        members[f"resolution_{resolution:g}".replace(".", "p")] = member(resolution=resolution)
    return config
