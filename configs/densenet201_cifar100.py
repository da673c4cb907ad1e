"""DenseNet-201 on CIFAR-100 from scratch, by the recipe of configs/cifar100.py.

python scripts/train.py --config configs/densenet201_cifar100.py

Cost: 18,277,348 parameters, 1,364.1 M MACs an image at 32 px, head map 4x4; 30 epochs of 45,000 images, time not
measured.
Result: not measured yet.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    return cifar100.get_config("densenet201")
