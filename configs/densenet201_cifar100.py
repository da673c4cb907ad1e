"""DenseNet-201 on CIFAR-100 from scratch under the recipe of b0_cifar100, with the stem for small images.

python scripts/train.py --config configs/densenet201_cifar100.py

1,364 M MACs an image at 32 px, head map 4x4: twenty times the B0 of configs/b0_cifar100.py.
"""

import ml_collections

from configs import b0_cifar100


def get_config() -> ml_collections.ConfigDict:
    config = b0_cifar100.get_config()
    config.model.name = "densenet201"
    config.model.stage_strides = None  # EfficientNet's
    return config
