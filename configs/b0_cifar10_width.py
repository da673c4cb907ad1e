"""EfficientNet-B0 on CIFAR-10 by the recipe of b0_cifar10, scaled in width alone, w = 2 (Table 7 of the paper).

python scripts/train.py --config configs/b0_cifar10_width.py

Cost: 15,587,330 parameters, 241.1 M MACs an image at 32 px, head map 4x4; 35 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import b0_cifar10


def get_config() -> ml_collections.ConfigDict:
    return b0_cifar10.scaled("width")
