"""EfficientNet-B0 on CIFAR-100 from scratch: RMSProp with exponential decay, for two CPU cores or an accelerator.

python scripts/train.py --config configs/b0_cifar100.py

Cost: 4,135,648 parameters, 73.6 M MACs an image at 32 px, head map 4x4; 30 epochs of 45,000 images.
Result: 70.1 % of the test images (two seeds; results/recipes), in 2 h and 2 h 46 min of two cores beside other work.

The paper's recipe is made for 350 epochs of ImageNet. Here the rate falls to 3 % of its peak within 30 epochs, weight
decay is a hundred times as strong, and the averages follow faster; an 8x8 map is kept up to stage 4.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    config = cifar100.get_config("efficientnet_b0")
    config.model.stage_strides = (1, 2, 2, 1, 2, 1, 1)
    config.model.dropout_rate = 0.2
    config.model.stochastic_depth_rate = 0.0
    config.model.bn_momentum = 0.9
    config.ema_decay = 0.999
    config.augment.cutout_size = 8
    config.num_epochs = 30

    config.optimizer.learning_rate = 0.00625
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.decay_epochs = 0.256  # times 0.97: 3 % of the peak after 30 epochs
    config.optimizer.weight_decay = 1e-3
    config.optimizer.clip_norm = 5.0
    return config
