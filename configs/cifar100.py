"""B1-B7 and the paper's baselines on CIFAR-100 from scratch, by one recipe: the paper's, for small images.

python scripts/train.py --config configs/cifar100.py:efficientnet_b1
python scripts/train.py --config configs/cifar100.py:resnet50

    efficientnet_b1  6,641,284 parameters    148.5 M MACs an image at 34 px, head map 5x5
    efficientnet_b2  7,841,894 parameters    178.7 M MACs an image at 37 px, head map 5x5
    efficientnet_b3 10,849,932 parameters    354.6 M MACs an image at 43 px, head map 6x6
    efficientnet_b4 17,727,916 parameters    785.4 M MACs an image at 54 px, head map 7x7
    efficientnet_b5 28,545,684 parameters  2,060.6 M MACs an image at 65 px, head map 9x9
    efficientnet_b6 40,966,204 parameters  3,653.5 M MACs an image at 75 px, head map 10x10
    efficientnet_b7 64,043,060 parameters  6,923.7 M MACs an image at 86 px, head map 11x11
    resnet50        23,705,252 parameters  1,298.0 M MACs an image at 32 px, head map 4x4
    resnet152       58,341,028 parameters  3,722.3 M MACs an image at 32 px, head map 4x4
    densenet201     18,277,348 parameters  1,364.1 M MACs an image at 32 px, head map 4x4

Each of them 30 epochs of 45,000 images. Result: not measured yet. B0 has a recipe of its own, configs/b0_cifar100.py.

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
