"""Runs in which compiling would be most of the time: a tiny config, and a network of two blocks."""

import ml_collections

from configs import default


def tiny_config() -> ml_collections.ConfigDict:
    """A run that takes seconds: a sliver of EfficientNet on scikit-learn's digits at their own size."""
    config = default.get_config()
    config.batch_size = 64
    config.eval_batch_size = 184
    config.num_train_steps = 6
    config.log_every_steps = 2
    config.eval_every_steps = 3
    config.checkpoint_every_steps = 2
    config.model.width_multiplier = 0.25
    config.model.depth_multiplier = 0.25
    config.model.num_classes = 10
    config.model.stem_stride = 1
    config.model.stage_strides = (1, 2, 1, 2, 1, 1, 1)
    config.dataset.name = "digits"
    config.dataset.resolution = 8
    config.dataset.validation_examples = 180
    config.augment.crop_padding = 1
    return config


def two_blocks(repeats: int, depth_multiplier: float) -> int:
    """In place of `scaling.round_repeats`: a block each of stages 4 (3x3, stride 2) and 5 (5x5).

    The second is residual, and so has stochastic depth, where the width makes all channels 8.
    """
    return int(repeats == 3)
