"""EfficientNet-B0 on CIFAR-100 from scratch, the paper's recipe at 32 px.

python scripts/train.py --config configs/b0_cifar100.py

The published strides would leave a 1x1 map of a 32 px image. Here the stem and stage 6 keep the
resolution, so the head map is 4x4 (total stride 8, 63 M MACs).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.model.name = "efficientnet_b0"
    config.model.num_classes = 100
    config.model.stem_stride = 1
    config.model.stage_strides = (1, 2, 2, 2, 1, 1, 1)
    config.dataset.name = "cifar100"
    config.num_epochs = 30
    return config
