"""Datasets by name as uint8 arrays, ready to be put on the device.

No module here imports JAX, and TFDS and Pillow are imported only when images have to be decoded.
"""

import numpy as np

from effnet_jax.data import cache, digits, folder_layout, official, registry
from effnet_jax.data.splits import Dataset, Split
from effnet_jax.errors import UserError


def num_classes(name: str) -> int:
    """Returns the number of classes of dataset `name` before anything of it is decoded.

    Raises:
      UserError: If there is no such dataset, or a folder is not one of classes.
    """
    if folder_layout.is_folder(name):
        return len(folder_layout.find(name).class_names)
    return registry.info(name).num_classes


def load(
    name: str,
    *,
    data_dir: str = "",
    manual_dir: str = "",
    cache_dir: str = "",
    validation_examples: int = 5000,
    resolution: int = 32,
    image_size: int | None = None,
    held_out_fraction: float = 0.1,
    broken_images: str = "fail",
) -> Dataset:
    """Loads dataset `name`, decoding it into the cache on first use; the arguments are the keys of config.dataset.

    The validation split is a stratified part of the official train split. It is the same in every run,
    whatever its seed, so that runs are compared on the same images, and a smaller one is part of a larger.
    Where a folder's own splits come in, see `folder_layout`.

    Args:
      name: "cifar10", "cifar100", "digits", or "folder:PATH" for a folder of images.
      data_dir: Folder of prepared TFDS data; empty for $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      manual_dir: Folder with the original archive under its own name; empty to download what is missing.
      cache_dir: Folder of decoded images; empty for $EFFNET_JAX_CACHE, else ~/.cache/effnet_jax.
      validation_examples: Images to hold out of the official train split; not for folders.
      resolution: Side in pixels of what the model sees.
      image_size: Of folders: side in pixels at which their images are stored; None for `resolution`.
      held_out_fraction: Of folders: share of the images that is held out for each split they do not bring.
      broken_images: Of folders: "fail", or "skip" to do without images that cannot be read.

    Returns:
      The dataset, with the train images in a shuffled order that is always the same.

    Raises:
      UserError: If the dataset is unknown, absent or damaged, if it cannot be written where it must be, or if
        so many examples cannot be held out.
    """
    if folder_layout.is_folder(name):
        from effnet_jax.data import folder  # needs Pillow

        return folder.load(name, cache.root(cache_dir), image_size or resolution, held_out_fraction, broken_images)
    dataset_info = registry.info(name)
    if name == "digits":
        class_names, splits = digits.CLASS_NAMES, digits.load()
    else:
        cached = official.load(dataset_info, data_dir, manual_dir, cache.root(cache_dir))
        class_names, splits = cached.class_names, cached.splits
    images, labels = splits["train"]
    count = _checked_validation_size(name, labels, validation_examples)
    return Dataset(
        info=dataset_info,
        class_names=class_names,
        splits={
            "train": Split(images[count:], labels[count:]),
            "validation": Split(images[:count], labels[:count]),
            "test": Split(*splits["test"]),
        },
    )


def _checked_validation_size(name: str, labels: np.ndarray, validation_examples: int) -> int:
    num_present = len(np.unique(labels))
    largest = len(labels) - num_present
    if not num_present <= validation_examples <= largest:
        raise UserError(
            f"validation_examples={validation_examples} cannot be held out of the {len(labels)} training "
            f"images of {name}: choose a number from {num_present}, one a class, to {largest}"
        )
    return validation_examples
