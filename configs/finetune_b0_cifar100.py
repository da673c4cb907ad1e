"""Fine-tuning ImageNet's EfficientNet-B0 on CIFAR-100 (Table 5 of the paper), with the images enlarged to 224 px.

python scripts/import_weights.py --from timm --model tf_efficientnet_b0 --weights FILE --output runs/b0
python scripts/train.py --config configs/finetune_b0_cifar100.py

Cost: 4,135,648 parameters, 384.7 M MACs an image at 224 px, head map 7x7; 20,000 steps of 256 images, 5.1 M images,
time not measured.
Result: not measured yet. The paper's is 88.1 %.

The paper's recipe is that of Kornblith et al. 2019 (arXiv 1805.08974): Nesterov momentum, a cosine, a BatchNorm
momentum that follows from the steps of an epoch, and a grid over learning rate and weight decay. This is one point of
that grid; no other has been tried.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.init_from = "runs/b0"
    config.batch_size = 256
    config.num_train_steps = 20_000
    config.label_smoothing = 0.0
    config.ema_decay = 0.0

    config.model.name = "efficientnet_b0"
    config.model.num_classes = 100
    config.model.bn_momentum = max(1 - 10 / (45_000 / 256), 0.9)
    config.dataset.name = "cifar100"
    config.dataset.resolution = 224  # stored at 32

    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.0
    config.optimizer.weight_decay = 1e-5 / 0.01  # the grid's is not multiplied by the learning rate
    return config
