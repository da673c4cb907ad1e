"""EfficientNet-B0 on ImageNet with the authors' recipe: 77.1 % top-1 is what they report of it.

python scripts/prepare_data.py imagenet2012 --manual_dir=DIR     (the two archives; their images once more on disk)
python scripts/train.py --config configs/b0_imagenet.py --workdir runs/b0_imagenet

Cost: 5,288,548 parameters, 385.8 M MACs an image at 224 px; 350 epochs of 1,256,145 images, 107,100 steps of 4096,
time not measured. The images are streamed: how many a core decodes, and so how many cores an accelerator needs, is what
scripts/benchmark.py --sections data measures. Unlike the authors', BatchNorm sees the whole global batch.
Result: not measured yet.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.batch_size = 4096
    config.eval_batch_size = 1024
    config.num_epochs = 350
    config.label_smoothing = 0.1
    config.ema_decay = 0.9999
    config.model.name = "efficientnet_b0"
    config.model.num_classes = 1000
    config.model.dtype = "bfloat16"
    config.dataset.name = "imagenet2012"
    config.dataset.resolution = 224
    config.dataset.validation_examples = 25_022  # the size of the authors' "minival"
    config.augment.crop_padding = 0  # the crops are random already
    config.augment.policy = "autoaugment_imagenet"

    config.optimizer.name = "rmsprop"
    config.optimizer.learning_rate = 0.016
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.97
    config.optimizer.decay_epochs = 2.4
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.weight_decay = 1e-5
    return config
