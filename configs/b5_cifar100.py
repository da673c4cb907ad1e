"""EfficientNet-B5 on CIFAR-100 from scratch, by the recipe of configs/cifar100.py.

python scripts/train.py --config configs/b5_cifar100.py

Cost: 28,545,684 parameters, 2,060.6 M MACs an image at 65 px, head map 9x9; 30 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    return cifar100.get_config("efficientnet_b5")
