"""A small search on real CIFAR-100 for 2 CPU cores without an accelerator: 27 minutes beside other work.

python scripts/grid_search.py --config configs/grid_search_cpu.py

A coarse grid (6 candidates, the single axes among them), two seeds, and half of B0's width and depth behind a stem of
stride 2 for 250 steps. It shows how the search works; 0.7 epochs of a sixth of a network say little about a trained B0.
Result: (1, 1.2, 1.2), 13.5 % of the validation images; results/grid_search_cpu.
"""

import ml_collections

from configs import grid_search


def get_config() -> ml_collections.ConfigDict:
    config = grid_search.get_config()
    config.search.step = 0.2
    config.search.tolerance = 0.15
    config.search.seeds = (0, 1)

    config.train.num_train_steps = 250
    config.train.eval_every_steps = 250
    config.train.checkpoint_every_steps = 125
    config.train.ema_decay = 0.0  # too few steps to average over
    config.train.model.width_multiplier = 0.5
    config.train.model.depth_multiplier = 0.5
    config.train.model.stem_stride = 2
    config.train.model.stage_strides = (1, 1, 2, 2, 1, 2, 1)
    config.train.model.dropout_rate = 0.0
    config.train.model.stochastic_depth_rate = 0.0
    config.train.model.bn_momentum = 0.9  # a few hundred steps are too few for 0.99
    config.train.optimizer.name = "adamw"  # and for the ImageNet recipe
    config.train.optimizer.learning_rate = 0.006
    config.train.optimizer.weight_decay = 0.01
    config.train.optimizer.warmup_epochs = 0.1
    config.train.optimizer.schedule = "cosine"
    return config
