"""The family beside its baselines at equal cost (Figure 1, Table 8 of the paper), small networks trained to the end.

python scripts/scaling_study.py --config configs/study_family_cpu.py --dry_run     # the models
python scripts/scaling_study.py --config configs/study_family_cpu.py

phi 0, 1, 2 and 3 on small_cifar100: 1, 2, 4 and 8 times its MACs, counted. The search (grid_search_cpu) found that
resolution alone does best at this size. At phi 2 that is 32 px, all that is stored of an image, so phi 3 adds width.
Beside them phi 2 with the paper's coefficients. study_single_axis_cpu has the same runs of phi 0 and of both phi 2.
ResNet-50, ResNet-152 and DenseNet-201 narrowed to four and eight times the MACs, and a ResNet-50 of fewer, wider
blocks. 20 epochs, two seeds.
Baselines have the learning rates of their best runs of five epochs, EfficientNets that of small_cifar100. What another
would give in 20 epochs is tried with one seed: phi 0 and phi 2 with four times that rate, as phi 2's best run of
five epochs had; the best baselines with a quarter of theirs.
Some runs are missing yet; results/README.md has what is done.
"""

import ml_collections

from configs import small_cifar100, study_family
from configs.study_single_axis import member

# Depth, resolutions at four and eight times the MACs, and times the learning rate of small_cifar100: what did best in
# study_baselines_cpu. No growth rate of DenseNet-201 comes within 5 % of eight times at 24 px; at 26 px one does.
BASELINES = {
    "resnet50": (1.0, (32, 32), 4.0),
    "resnet50_shallow": (0.3, (32, 32), 4.0),
    "resnet152": (1.0, (32, 32), 4.0),
    "densenet201": (1.0, (24, 26), 8.0),
}
# Members once more with other learning rates.
CONTROLS = (
    ("phi0", "higher", 4.0),
    ("phi2", "higher", 4.0),
    ("resnet50_shallow_4x", "lower", 0.25),
    ("densenet201_4x", "lower", 0.25),
)


def get_config() -> ml_collections.ConfigDict:
    config = study_family.get_config()
    config.train = small_cifar100.get_config()
    config.study.seeds = (0, 1)
    config.study.match_tolerance = 0.05
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    members.phi0 = member()
    members.phi1 = member(match="resolution", factor=2.0)
    members.phi2 = member(match="resolution", factor=4.0)
    members.phi3 = member(resolution=2.0, match="width", factor=8.0)
    members.phi2_paper = member(depth=1.2**2, resolution=1.15**2, match="width", factor=4.0)
    for name, (depth, resolutions, rate) in BASELINES.items():
        for factor, pixels in zip((4, 8), resolutions):
            members[f"{name}_{factor}x"] = member(
                name.removesuffix("_shallow"), depth=depth, resolution=pixels / 16, match="width", factor=float(factor),
                learning_rate=rate,
            )  # fmt: skip
    for name, change, times in CONTROLS:
        members[f"{name}_{change}_rate"] = control = members[name].copy_and_resolve_references()
        control.learning_rate, control.seeds = control.learning_rate * times, 1
    return config
