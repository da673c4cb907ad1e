"""EfficientNet-B4 on CIFAR-100 from scratch, by the recipe of configs/cifar100.py.

python scripts/train.py --config configs/b4_cifar100.py

Cost: 17,727,916 parameters, 785.4 M MACs an image at 54 px, head map 7x7; 30 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    return cifar100.get_config("efficientnet_b4")
