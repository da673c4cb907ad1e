"""B0-B7 and the paper's baselines on CIFAR-100 from scratch, by one recipe: the paper's, for small images.

The files b0_cifar100.py ... b7_cifar100.py, resnet50_cifar100.py, resnet152_cifar100.py and densenet201_cifar100.py
name their model and say what it costs. Any other one: --config configs/cifar100.py:efficientnet_b8

Resolutions keep the ratios of the published ones, so compound scaling goes on as in the paper: B0 and the baselines
see the 32 pixels of the images, B7 86, enlarged on the device. EfficientNet's published strides would leave a 1x1
map of 32 pixels; here the stem and stage 6 keep the resolution (total stride 8), the baselines have their stem for
small images. Dropout and stochastic depth are the published ones of each model.
"""

import ml_collections

from configs import default
from effnet_jax.architecture import catalog, scaling


def get_config(model: str = "efficientnet_b0") -> ml_collections.ConfigDict:
    config = default.get_config()
    config.model.name = model
    config.model.num_classes = 100
    config.model.stem_stride = 1
    if model in scaling.FAMILY:
        config.model.stage_strides = (1, 2, 2, 2, 1, 1, 1)
    config.dataset.name = "cifar100"
    config.dataset.resolution = round(32 * catalog.relative_resolution(model, "efficientnet_b0"))
    config.num_epochs = 30
    return config
