"""Linear probe: ImageNet's EfficientNet-B4 as it is, and a new classifier for a folder of images.

python scripts/import_weights.py --from timm --model tf_efficientnet_b4 --weights FILE --output runs/b4
python scripts/train.py --config configs/probe_b4_folder.py --config.init_from=runs/b4 \
    --config.dataset.name=folder:PATH --config.model.num_classes=N

Cost: 17,584,476 parameters, 767.8 M MACs an image at 160 px, head map 5x5; 10 epochs. A step has the arithmetic of a
forward pass.
Result: on 2,700 images of 20 Tiny-ImageNet classes, with weights that lack one block, 85.2 % of the 1,000 test images
(one seed; results/transfer_tiny_imagenet20).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.batch_size = 100
    config.eval_batch_size = 100
    config.num_epochs = 10
    config.log_every_steps = 5
    config.ema_decay = 0.0  # too few steps to average over

    config.model.name = "efficientnet_b4"
    config.model.num_classes = 20
    config.dataset.name = "folder:PATH"
    config.dataset.resolution = 160

    config.augment.crop_padding = 0  # features of images as they are

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 0.003
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.25
    config.optimizer.weight_decay = 0.0
    config.optimizer.learning_rate_factors = (
        (r"classifier/.*", 1.0),
        (r"(?!classifier/).*", 0.0),
    )
    return config
