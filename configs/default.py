"""Every option and its default. Other configs start from this one and change what they need.

Overrides on the command line: `--config.batch_size=64 --config.model.name=efficientnet_b1`.
"""

import ml_collections
from ml_collections.config_dict import placeholder


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()

    config.seed = 0
    config.batch_size = 128  # global: over all devices and accumulation steps
    config.eval_batch_size = 512  # global
    config.num_epochs = 30
    config.num_train_steps = placeholder(int)  # wins over num_epochs when set
    config.log_every_steps = 50
    config.eval_every_steps = placeholder(int)  # unset: once an epoch
    config.checkpoint_every_steps = placeholder(int)  # unset: once an epoch
    config.steps_per_dispatch = 1  # updates per call into XLA; more helps where steps are very short
    config.label_smoothing = 0.1
    config.ema_decay = 0.9999  # of parameters and BatchNorm statistics; 0 is off
    # Checkpoint to start from, or a name such as timm/efficientnet_b0.ra_in1k, with its normalisation, padding and
    # BatchNorm epsilon; where the classes differ the classifier starts anew.
    config.init_from = ""

    config.model = model = ml_collections.ConfigDict()
    model.name = "efficientnet_b0"
    model.num_classes = 100
    model.ops = "fast"  # "plain": XLA's own operations alone, slower; for forward-mode differentiation
    model.in_channels = 3  # 1: the model sees images in grey
    # What is unset here takes the named model's published value.
    model.width_multiplier = 1.0  # on top of the named model's; of DenseNet's growth rate
    model.depth_multiplier = 1.0  # on top of the named model's, blocks rounded up
    model.stem_stride = 2  # 1 for small images
    model.stage_strides = placeholder(tuple)  # EfficientNet only, (1, 2, 2, 2, 1, 2, 1)
    model.dropout_rate = placeholder(float)
    model.stochastic_depth_rate = placeholder(float)  # of the last block, growing linearly from 0 at the first
    model.dtype = "float32"  # or "bfloat16"; parameters, statistics and logits stay float32
    model.padding = placeholder(str)  # "SAME" (TensorFlow; EfficientNet) or "SYMMETRIC" (PyTorch; baselines)
    model.bn_momentum = 0.99  # of moving statistics; a validation computes new ones, see training/statistics.py
    model.bn_group = "global"  # BatchNorm's statistics are those of the whole batch; "device": of each device's part
    model.bn_epsilon = placeholder(float)  # 1e-3 for EfficientNet, 1e-5 for the baselines
    model.remat = False  # recompute blocks in the backward pass: less memory, more time
    model.allow_1x1_map = False

    config.dataset = dataset = ml_collections.ConfigDict()
    dataset.name = "cifar100"  # or "folder:PATH", or "tfds:NAME", "tfds:NAME/CONFIG:VERSION" for any set of TFDS
    dataset.data_dir = ""  # prepared TFDS data; unset: TFDS_DATA_DIR, then ~/tensorflow_datasets
    dataset.manual_dir = ""  # folder with the original archive, packed or unpacked, for machines without a network
    dataset.cache_dir = ""  # decoded arrays; unset: EFFNET_JAX_CACHE, then ~/.cache/effnet_jax
    dataset.resolution = 32  # pixels the model sees; stored images are resized on the device
    # Held out of the official training split. 0: nothing is, anywhere; train on all, take the last (averaged) weights.
    dataset.validation_examples = 5000
    # Pixels at which images are stored, or cut; unset: as they are where they have one size, else resolution.
    dataset.image_size = placeholder(int)
    # For name = "folder:PATH" with PATH/train/<class>/* and PATH/val/<class>/*, or PATH/<class>/*:
    # Of the training images, for each of validation and test that PATH, or "tfds:NAME", lacks.
    dataset.held_out_fraction = 0.1
    dataset.broken_images = "fail"  # or "skip"
    # Large images stay encoded on disk; worker processes decode and cut them, by the official rules.
    dataset.streaming = placeholder(bool)  # unset: food101, imagenet2012, tfds:NAME if large; True for a folder
    dataset.num_workers = placeholder(int)  # unset: one a core; 0: threads of the training process
    dataset.decoded_cache = False  # decoded once into cache_dir, 3 bytes a pixel: then a crop is only resized
    dataset.crop_area = (0.08, 1.0)  # share of the image that a training crop, resized to image_size, takes
    dataset.crop_aspect = (3 / 4, 4 / 3)  # its width over height
    dataset.crop_fraction = 0.875  # share of the shorter side that evaluation keeps, resized to resolution

    config.augment = augment = ml_collections.ConfigDict()
    augment.crop_padding = 4  # pixels, by reflection
    augment.flip = True  # horizontal
    augment.brightness = 0.0  # factor from 1 - x to 1 + x; 0 is off
    augment.contrast = 0.0  # likewise
    augment.saturation = 0.0  # likewise
    augment.hue = 0.0  # turn of the colour circle from -x to x, 0.5 at most; 0 is off
    augment.policy = ""  # "autoaugment_cifar10", "autoaugment_imagenet", "randaugment", "trivialaugment"
    augment.randaugment_layers = 2  # operations an image
    augment.randaugment_strength = 9  # 0 to 30
    augment.cutout_size = 0  # pixels of the stored image
    augment.erasing_probability = 0.0  # of a rectangle of 2 % to 33 %, "random erasing"
    augment.mixup_alpha = 0.0  # of Beta(alpha, alpha); 0 is off
    augment.cutmix_alpha = 0.0  # likewise
    augment.mix_probability = 1.0  # that an image is mixed, where one of the two is on
    augment.cutmix_probability = 0.5  # that it is by CutMix, where both are on
    augment.mix_until = 1.0  # share of the training steps after which nothing is mixed

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.name = "rmsprop"  # "rmsprop" (TensorFlow's), "sgd", "adamw"
    optimizer.learning_rate = 0.016  # for a batch of 256; scaled by batch_size / 256
    optimizer.schedule = "exponential"  # "exponential", "cosine", "step", "constant"
    optimizer.warmup_epochs = 5.0
    optimizer.decay_rate = 0.97  # exponential and step
    optimizer.decay_epochs = 2.4  # exponential
    optimizer.step_epochs = (60, 120, 160)  # step
    optimizer.momentum = 0.9  # rmsprop, sgd
    optimizer.nesterov = True  # sgd
    optimizer.rms_decay = 0.9  # rmsprop
    optimizer.epsilon = 1e-3  # rmsprop, inside the root
    optimizer.weight_decay = 1e-5
    optimizer.weight_decay_on = "not_batch_norm"  # "not_batch_norm", "kernels", "all"
    # (regular expression, factor) pairs; an expression matches whole names such as "stage1_block1/expand_conv/kernel",
    # and each parameter is matched by exactly one. 0.0 freezes; a frozen BatchNorm keeps its statistics.
    optimizer.learning_rate_factors = ((".*", 1.0),)
    optimizer.clip_norm = 0.0  # of the global gradient; 0 is off
    optimizer.accumulation_steps = 1  # microbatches per update; BatchNorm sees each alone

    return config
