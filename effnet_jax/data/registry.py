"""Datasets by name: sizes, classes and normalisation. The one place that knows these facts."""

import dataclasses

from effnet_jax.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known about a dataset without opening it.

    Attributes:
      name: What configs call it.
      num_classes: Number of labels.
      image_size: Height and width of the stored images.
      split_sizes: Number of images in the official splits "train" and "test".
      mean: Of each channel over the official training images, as a fraction of 255.
      std: Standard deviation, likewise.
    """

    name: str
    num_classes: int
    image_size: tuple[int, int]
    split_sizes: dict[str, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


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
            f"unknown dataset {name!r}{did_you_mean(name, DATASETS)}: choose one of {known}, or folder:PATH for "
            "a folder of images"
        )
    return DATASETS[name]
