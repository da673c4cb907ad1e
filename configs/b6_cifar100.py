"""EfficientNet-B6 on CIFAR-100 from scratch, by the recipe of configs/cifar100.py.

python scripts/train.py --config configs/b6_cifar100.py

Cost: 40,966,204 parameters, 3,653.5 M MACs an image at 75 px, head map 10x10; 30 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    return cifar100.get_config("efficientnet_b6")
