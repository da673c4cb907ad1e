"""A small EfficientNet on the handwritten digits that ship with scikit-learn: no download.

make quickstart, or: python scripts/train.py --config configs/quickstart.py

Cost: 663,530 parameters, 9.4 M MACs an image at 16 px, head map 4x4; 12 epochs of 1,258 images, about 3 minutes on 2
CPU cores.
Result: 97.5 % of the 359 test images (one seed; the output in README.md).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.batch_size = 64
    config.eval_batch_size = 192
    config.num_epochs = 12
    config.log_every_steps = 19
    config.ema_decay = 0.98
    config.label_smoothing = 0.0

    config.model.width_multiplier = 0.5
    config.model.depth_multiplier = 0.5
    config.model.num_classes = 10
    config.model.stem_stride = 1
    config.model.stage_strides = (1, 2, 2, 1, 1, 1, 1)
    config.model.dropout_rate = 0.0
    config.model.stochastic_depth_rate = 0.0
    config.model.bn_momentum = 0.9  # a few hundred steps are too few for 0.99

    config.dataset.name = "digits"
    config.dataset.resolution = 16  # stored at 8 x 8
    config.dataset.validation_examples = 180

    config.augment.crop_padding = 1
    config.augment.flip = False  # a mirrored 2 is no 2

    # 1,258 images are too few for the ImageNet recipe
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 0.01
    config.optimizer.weight_decay = 0.01
    config.optimizer.warmup_epochs = 1.0
    config.optimizer.schedule = "cosine"
    return config
