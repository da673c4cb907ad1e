"""Half of B0's width and depth on CIFAR-100 from scratch, for a machine without an accelerator.

python scripts/train.py --config configs/half_b0_cifar100.py

Cost: 721,220 parameters, 11.2 M MACs an image at 32 px, head map 4x4; 40 epochs of 45,000 images.
Result: 65.9 % of the test images (two seeds; results/recipes); the second took 33 minutes of two idle cores (EPYC).
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    config = cifar100.get_config("efficientnet_b0")
    config.model.width_multiplier = 0.5
    config.model.depth_multiplier = 0.5
    config.model.dropout_rate = 0.0
    config.model.stochastic_depth_rate = 0.0
    config.model.bn_momentum = 0.9
    config.num_epochs = 40
    config.ema_decay = 0.999

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.2  # 0.1 for the batch of 128
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.weight_decay = 5e-4
    config.optimizer.clip_norm = 5.0
    return config
