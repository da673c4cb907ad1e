"""Which resolution and learning rate suit each baseline of study_family_cpu: short runs, one seed.

python scripts/scaling_study.py --config configs/study_baselines_cpu.py

ResNet-50, ResNet-152 and DenseNet-201, and a ResNet-50 of fewer blocks, narrowed to four times the MACs of
small_cifar100 at 16 and 24 px, five epochs each with the learning rate brought to its end. Nothing here is compared
with EfficientNets: study_family_cpu does so, with what did best here on validation.
"""

import ml_collections

from configs import small_cifar100, study_family
from configs.study_single_axis import member

# Times that of small_cifar100. Less does worse for ResNet-50 at 16 px: a quarter gets 24.4 % of the validation images,
# half 27.6 %, the same 30.7 %, double 36.1 %.
RATES = {"same": 1.0, "double": 2.0, "fourfold": 4.0}


def get_config() -> ml_collections.ConfigDict:
    config = study_family.get_config()
    config.study.seeds = (0,)
    config.study.match_tolerance = 0.05
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    for name, depth in (("resnet50", 1.0), ("resnet50_shallow", 0.3), ("resnet152", 1.0), ("densenet201", 1.0)):
        for pixels in (16, 24):
            for speed, rate in RATES.items():
                members[f"{name}_{pixels}px_{speed}"] = member(
                    name.removesuffix("_shallow"), depth=depth, resolution=pixels / 16, match="width", factor=4.0,
                    learning_rate=rate,
                )  # fmt: skip
    config.train = small_cifar100.get_config()
    config.train.num_epochs = 5
    config.train.eval_every_steps = 875
    config.train.checkpoint_every_steps = 875
    return config
