"""A reduced study_family on real CIFAR-100 for a machine without an accelerator: B0-B2 and the baselines.

python scripts/scaling_study.py --config configs/study_family_cpu.py

Every model sees the same 9,600 images (0.2 epochs), shrunk to 16 pixels (B1 17, B2 19), once; all end at a 2x2 or
3x3 map. After so little training accuracies say how fast models start, not how good they get. 50 minutes beside
other work, 14 of them ResNet-152's, and up to 15 GB of memory.
Result: DenseNet-201 starts fastest, 10.7 % of the validation images; results/study_family_cpu.
"""

import ml_collections

from configs import grid_search_cpu, study_family
from configs.study_single_axis import member


def get_config() -> ml_collections.ConfigDict:
    config = study_family.get_config()
    config.study.seeds = (0,)
    config.study.members = members = ml_collections.ConfigDict(sort_keys=False)
    for name in ("efficientnet_b0", "efficientnet_b1", "efficientnet_b2"):
        members[name.removeprefix("efficientnet_")] = member(name)
    for name in ("resnet50", "resnet152", "densenet201"):
        members[name] = member(name)

    config.train = train = grid_search_cpu.get_config().train
    train.model.width_multiplier = 1.0
    train.model.depth_multiplier = 1.0
    train.model.stem_stride = 1
    train.dataset.resolution = 16
    train.batch_size = 32  # small: the more steps, the further a start gets with as many images
    train.eval_batch_size = 500
    train.num_train_steps = 300
    train.eval_every_steps = 300
    train.checkpoint_every_steps = 150
    train.optimizer.learning_rate = 0.024
    train.optimizer.warmup_epochs = 0.05
    return config
