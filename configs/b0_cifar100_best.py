"""EfficientNet-B0 on CIFAR-100 from scratch as well as is known, for one accelerator and at most 30 minutes.

python scripts/train.py --config configs/b0_cifar100_best.py

Cost: 4,135,648 parameters, 239.6 M MACs an image at 32 px, head map 8x8; 200 epochs of 45,000 images in bfloat16,
time not measured. 30 minutes take 5,000 images/s; a faster machine has time for `--config.num_epochs=300`.
Result: not measured yet.

The parts, in the order of what each is expected to bring: strides that end at an 8x8 map as the CIFAR ResNets do;
TrivialAugment; CutMix or mixup; SGD with a decay of everything, BatchNorm included, and a clipped gradient instead of
RMSProp; EMA. All mixing stops for the last tenth, so that the end sees images as they are.
"""

import ml_collections

from configs import cifar100


def get_config() -> ml_collections.ConfigDict:
    config = cifar100.get_config("efficientnet_b0")
    config.model.stage_strides = (1, 1, 2, 2, 1, 1, 1)
    config.model.dtype = "bfloat16"
    config.model.bn_momentum = 0.9
    config.model.dropout_rate = 0.2
    config.model.stochastic_depth_rate = 0.1

    config.batch_size = 512  # 87 steps an epoch
    config.num_epochs = 200
    config.steps_per_dispatch = 87
    config.log_every_steps = 87
    config.eval_every_steps = 435
    config.checkpoint_every_steps = 435
    config.ema_decay = 0.9995

    config.augment.policy = "trivialaugment"
    config.augment.cutmix_alpha = 1.0
    config.augment.mixup_alpha = 0.2
    config.augment.cutmix_probability = 0.5
    config.augment.mix_until = 0.9

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.2  # 0.4 for the batch of 512
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.weight_decay = 5e-4
    config.optimizer.weight_decay_on = "all"
    config.optimizer.clip_norm = 5.0
    return config
