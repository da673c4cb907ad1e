"""Fine-tuning the upper stages of EfficientNet-B4 on a folder of images, from a linear probe of it.

python scripts/train.py --config configs/finetune_b4_folder.py --config.init_from=runs/probe_b4_folder \
    --config.dataset.name=folder:PATH --config.model.num_classes=N

Cost: 17,584,476 parameters, 767.8 M MACs an image at 160 px, head map 5x5; 1 epoch. A step has 1.73 times the
arithmetic of a forward pass.
Result: 86.6 % of the test images that the probe gets 85.2 % of (one seed; results/transfer_tiny_imagenet20).
"""

import ml_collections

from configs import probe_b4_folder


def get_config() -> ml_collections.ConfigDict:
    config = probe_b4_folder.get_config()
    config.batch_size = 50
    config.num_epochs = 1

    config.augment.crop_padding = 10

    config.optimizer.learning_rate = 0.001
    config.optimizer.weight_decay = 0.01
    # A few thousand images move the upper layers alone, the classifier faster; they are too few for new statistics.
    config.optimizer.learning_rate_factors = (
        (r"(stem|stage[1-5]_block\d+)/.*", 0.0),
        (r"(stage[67]_block\d+|head_conv)/(.*_)?bn/.*", 0.0),
        (r"(stage[67]_block\d+|head_conv)/(?!(.*_)?bn/).*", 0.25),
        (r"classifier/.*", 1.0),
    )
    return config
