"""B0-B7 beside ResNet-50, ResNet-152 and DenseNet-201 on CIFAR-100 (Figure 1, Table 8 of the paper), on an accelerator.

python scripts/scaling_study.py --config configs/study_family.py

One recipe and budget for all. Resolutions keep the ratios of the published ones: B0 and the baselines see 32
pixels, B7 86. The baselines have their stem for small images.
"""

import ml_collections

from configs import cifar100, study_single_axis
from configs.study_single_axis import member


def get_config() -> ml_collections.ConfigDict:
    config = study_single_axis.get_config()
    config.study.kind = "family"
    config.study.match_to = ""
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    for index in range(8):
        members[f"b{index}"] = member(f"efficientnet_b{index}")
    for name in ("resnet50", "resnet152", "densenet201"):
        members[name] = member(name)
    config.train = cifar100.get_config()
    return config
