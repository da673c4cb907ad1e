"""Datasets by name: sizes, classes and normalisation. The one place that knows these facts."""

import dataclasses

from effnet_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known about a dataset without opening it.

    Attributes:
      name: What configs call it.
      num_classes: Number of labels.
      image_size: Height and width of the stored images; None where each has its own. Such a set is large, and
        its images stay on disk.
      split_sizes: Number of images in the official splits "train" and "test".
      mean: Of each channel over the official training images, as a fraction of 255; where images stay on disk, that
        of ImageNet, by convention.
      std: Standard deviation, likewise.
      test_split: What TFDS calls the split that models are judged by.
    """

    name: str
    num_classes: int
    image_size: tuple[int, int] | None
    split_sizes: dict[str, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    test_split: str = "test"


# What every ImageNet model of EfficientNet's authors and of torchvision is trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Mean and standard deviation of cifar100 and digits are recomputed from the images in tests/data.
DATASETS = {
    dataset.name: dataset
    for dataset in (
        DatasetInfo(
            name="cifar10",
            num_classes=10,
            image_size=(32, 32),
            split_sizes={"train": 50_000, "test": 10_000},
            # The published channel statistics of the 50,000 training images (0.4914, 0.4822, 0.4465 and
            # 0.2470, 0.2435, 0.2616), in full.
            mean=(0.49139968, 0.48215841, 0.44653091),
            std=(0.24703223, 0.24348513, 0.26158784),
        ),
        DatasetInfo(
            name="cifar100",
            num_classes=100,
            image_size=(32, 32),
            split_sizes={"train": 50_000, "test": 10_000},
            mean=(0.50707516, 0.48654887, 0.44091784),
            std=(0.26733429, 0.25643846, 0.27615047),
        ),
        DatasetInfo(
            name="digits",
            num_classes=10,
            image_size=(8, 8),
            split_sizes={"train": 1438, "test": 359},
            mean=(0.30552774, 0.30552774, 0.30552774),
            std=(0.37598182, 0.37598182, 0.37598182),
        ),
        DatasetInfo(
            name="food101",
            num_classes=101,
            image_size=None,
            split_sizes={"train": 75_750, "test": 25_250},
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            test_split="validation",
        ),
        DatasetInfo(
            name="imagenet2012",
            num_classes=1000,
            image_size=None,
            split_sizes={"train": 1_281_167, "test": 50_000},  # of the real test split no labels are published
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            test_split="validation",
        ),
    )
}


def info(name: str) -> DatasetInfo:
    """Returns the facts about dataset `name`.

    Raises:
      UserError: If there is no such dataset.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise UserError(
            f"unknown dataset {name!r}{did_you_mean(name, DATASETS)}: choose one of {known}, tfds:NAME for any "
            "other that TFDS knows, or folder:PATH for a folder of images"
        )
    return DATASETS[name]
