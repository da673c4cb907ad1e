"""EfficientNet-B0 on CIFAR-10 by the recipe of b0_cifar10, scaled in resolution alone, r = 2 (Table 7 of the paper).

python scripts/train.py --config configs/b0_cifar10_resolution.py

Cost: 4,020,358 parameters, 249.3 M MACs an image at 64 px, head map 8x8; 35 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import b0_cifar10


def get_config() -> ml_collections.ConfigDict:
    return b0_cifar10.scaled("resolution")
