"""Which resolution and learning rate suit each baseline of study_family_cpu: short runs, one seed.

python scripts/scaling_study.py --config configs/study_baselines_cpu.py

ResNet-50, ResNet-152 and DenseNet-201, and a ResNet-50 of fewer blocks, narrowed to four times the MACs of
small_cifar100, five epochs each with the learning rate brought to its end: first at 16, 24 and 32 px with double the
rate of small_cifar100, then at the best of these with 1, 4 and 8 times that rate. All have their stem for small
images. DenseNet-201 sees 30 px in place of 32, where no growth rate comes within a tenth of these MACs.
phi 2 of the family gets the same four rates at its 32 px: the family trains EfficientNets with the rate of
small_cifar100, as the search and study_single_axis_cpu do, and these runs say what another would have given.
Networks are compared in study_family_cpu, which takes of each baseline what did best here on validation.
Result, of the validation images (results/study_baselines_cpu): with 1 seed phi2_fourfold 53.2 %,
densenet201_24px_eightfold 52.0 %, resnet50_shallow_32px_fourfold 48.4 %, resnet50_32px_fourfold 43.6 %,
resnet152_32px_fourfold 37.8 %.
"""

import ml_collections

from configs import small_cifar100, study_family
from configs.study_single_axis import member

# Depth and resolutions of each.
NETWORKS = {
    "resnet50": (1.0, (16, 24, 32)),
    "resnet50_shallow": (0.3, (16, 24, 32)),
    "resnet152": (1.0, (16, 24, 32)),
    "densenet201": (1.0, (16, 24, 30)),
}
# Times that of small_cifar100.
FIRST_RATE, OTHER_RATES = ("double", 2.0), (("same", 1.0), ("fourfold", 4.0), ("eightfold", 8.0))
# What did best of them on validation images.
BEST_PIXELS = {"resnet50": 32, "resnet50_shallow": 32, "resnet152": 32, "densenet201": 24}
# DenseNet-201 did best with the highest of the four rates, so it has a fifth.
FURTHER_RATES = {"densenet201": (("sixteenfold", 16.0),)}


def get_config() -> ml_collections.ConfigDict:
    config = study_family.get_config()
    config.study.kind = "tuning"
    config.study.seeds = (0,)
    config.study.match_tolerance = 0.05
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    for name, (depth, resolutions) in NETWORKS.items():
        tried = [(pixels, *FIRST_RATE) for pixels in resolutions]
        tried += [(BEST_PIXELS[name], *other) for other in (*OTHER_RATES, *FURTHER_RATES.get(name, ()))]
        for pixels, speed, rate in tried:
            members[f"{name}_{pixels}px_{speed}"] = member(
                name.removesuffix("_shallow"), depth=depth, resolution=pixels / 16, match="width", factor=4.0,
                learning_rate=rate,
            )  # fmt: skip
    for speed, rate in (FIRST_RATE, *OTHER_RATES):
        members[f"phi2_{speed}"] = member(match="resolution", factor=4.0, learning_rate=rate)
    config.train = small_cifar100.get_config()
    config.train.num_epochs = 5
    config.train.eval_every_steps = 875
    config.train.checkpoint_every_steps = 875
    return config
