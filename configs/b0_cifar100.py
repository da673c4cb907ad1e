"""EfficientNet-B0 on CIFAR-100 from scratch, by the recipe of configs/cifar100.py.

python scripts/train.py --config configs/b0_cifar100.py

Cost: 4,135,648 parameters, 62.9 M MACs an image at 32 px, head map 4x4; 30 epochs of 45,000 images, time not
measured.
Result: not measured yet. The first four of the epochs, with a cosine: results/b0_cifar100_4_epochs.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    return cifar100.get_config("efficientnet_b0")
