"""EfficientNet-B0 on Food-101 from scratch: 200-pixel crops, shown to the model at its own 224.

python scripts/prepare_data.py food101
python scripts/train.py --config configs/b0_food101.py --workdir runs/b0_food101

Cost: 4,136,929 parameters, 384.7 M MACs an image at 224 px; 100 epochs of 70,750 images, 27,600 steps of 256, time
not measured. The images are streamed: how many a core decodes is what scripts/benchmark.py --sections data measures.
Result: not measured yet.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.batch_size = 256
    config.num_epochs = 100
    config.label_smoothing = 0.1
    config.model.name = "efficientnet_b0"
    config.model.num_classes = 101
    config.dataset.name = "food101"
    config.dataset.image_size = 200
    config.dataset.resolution = 224  # gamma^0 times 224; the device resizes to it
    config.augment.crop_padding = 0  # the crops are random already

    config.optimizer.learning_rate = 0.064
    config.optimizer.schedule = "exponential"  # in steps of decay_epochs
    config.optimizer.decay_rate = 0.96
    config.optimizer.decay_epochs = 8.0
    config.optimizer.clip_norm = 1.0
    return config
