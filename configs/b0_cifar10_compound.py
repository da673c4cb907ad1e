"""EfficientNet-B0 on CIFAR-10 by the recipe of b0_cifar10, scaled along all axes (Table 7 of the paper):
d = 1.4, w = 1.2, r = 1.3.

python scripts/train.py --config configs/b0_cifar10_compound.py

Cost: 10,711,602 parameters, 352.1 M MACs an image at 42 px, head map 6x6; 35 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import b0_cifar10


def get_config() -> ml_collections.ConfigDict:
    return b0_cifar10.scaled("compound")
