"""The baseline of the scaling studies: a small EfficientNet on CIFAR-100 shrunk to 16 px, trained to the end.

python scripts/train.py --config configs/small_cifar100.py

Cost: 457,514 parameters, 6.6 M MACs an image at 16 px, head map 2x2; 20 epochs of 45,000 images.
Result: 55.7 % of the test images (three seeds; results/study_single_axis_cpu).

0.35 of B0's width and 0.6 of its depth, one to three blocks a stage. The sizes are chosen so that rounding leaves room
for a fair comparison: depth alone, width alone, resolution alone and the paper's (1.2, 1.1, 1.15) can each cost twice
this network, and each axis four times, to within 5 % of counted MACs. With half of B0's width and depth no depth does.
Images are shrunk from the stored 32 px, so a higher resolution brings real detail up to 32.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    config = cifar100.get_config("efficientnet_b0")
    config.batch_size = 256
    config.num_epochs = 20
    config.log_every_steps = 175  # an epoch
    config.eval_every_steps = 350
    config.checkpoint_every_steps = 350
    config.steps_per_dispatch = 25
    config.ema_decay = 0.995

    config.model.width_multiplier = 0.35
    config.model.depth_multiplier = 0.6
    config.model.stage_strides = (1, 1, 1, 2, 2, 2, 1)
    config.model.dropout_rate = 0.0
    config.model.stochastic_depth_rate = 0.0
    config.model.bn_momentum = 0.9
    config.dataset.resolution = 16

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.2
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.weight_decay = 5e-4
    config.optimizer.clip_norm = 5.0
    return config
