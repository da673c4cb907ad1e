"""EfficientNet-B0 on CIFAR-10 from scratch: 35 epochs of the official schedule at ten times its pace.

python scripts/train.py --config configs/b0_cifar10.py

Cost: 4,020,358 parameters, 62.8 M MACs an image at 32 px, head map 4x4; 35 epochs of 45,000 images, time not
measured.
Result: not measured yet.

RMSProp with momentum and decay 0.9, linear warm-up, then exponential decay: what takes 350 epochs there, 5 of warm-up
and 0.97 each 2.4 epochs, takes 35 here. With an argument it is scaled as in Table 7 of the paper:

    b0_cifar10.py:depth      18,823,666 parameters  275.2 M MACs an image at 32 px, head map 4x4
    b0_cifar10.py:width      15,587,330 parameters  241.1 M MACs an image at 32 px, head map 4x4
    b0_cifar10.py:resolution  4,020,358 parameters  249.3 M MACs an image at 64 px, head map 8x8
    b0_cifar10.py:compound   10,711,602 parameters  352.1 M MACs an image at 42 px, head map 6x6
"""

import ml_collections

from configs import cifar100, study_single_axis
from effnet_jax.study import members


def get_config(axis: str = "baseline") -> ml_collections.ConfigDict:
    config = cifar100.get_config("efficientnet_b0")
    config.model.num_classes = 10
    config.dataset.name = "cifar10"
    config.num_epochs = 35
    config.optimizer.warmup_epochs = 0.5
    config.optimizer.decay_rate = 0.97
    config.optimizer.decay_epochs = 0.24
    study = study_single_axis.get_config().study
    return members.scaled(config, members.member(axis, study, config))
