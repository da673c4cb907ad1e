"""Datasets by name as uint8 arrays, ready to be put on the device.

No module here imports JAX, and TFDS and Pillow are imported only when images have to be decoded.
"""

import os
from pathlib import Path

from effnet_jax.data.disk import cache
from effnet_jax.data.disk.descriptions import Prepared
from effnet_jax.data.sets import any_tfds, digits, folder_layout, registry, tfds_sets
from effnet_jax.data.sets.splits import Dataset, Split, take_validation
from effnet_jax.errors import UserError


def num_classes(name: str, data_dir: str = "", manual_dir: str = "", broken_images: str = "fail") -> int:
    """Returns the number of classes of dataset `name` before anything of it is decoded; arguments as in `load`.

    Raises:
      UserError: If there is no such dataset, a folder is not one of classes, or "tfds:NAME" cannot be had.
    """
    if any_tfds.is_tfds(name):
        return len(any_tfds.find(name, data_dir, manual_dir).class_names)
    if folder_layout.is_folder(name):
        return len(folder_layout.find(name, skip_empty=broken_images == "skip").class_names)
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
    streaming: bool | None = None,
    num_workers: int | None = None,
    decoded_cache: bool = False,
    crop_fraction: float = 0.875,
    crop_area: tuple[float, float] = (0.08, 1.0),
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> Dataset:
    """Loads dataset `name`; the arguments are the keys of config.dataset.

    A small one is decoded into the cache on first use; of one that streams nothing but the list of its images is made.

    The validation split is a stratified part of the official train split. It is the same in every run,
    whatever its seed, so that runs are compared on the same images, and a smaller one is part of a larger.
    Where a folder's own splits come in, see `folder_layout`.

    Args:
      name: "cifar10", "cifar100", "digits", "food101", "imagenet2012", "folder:PATH" for a folder of images, or
        "tfds:NAME" for any image classification dataset of TFDS, see `any_tfds`.
      data_dir: Folder of prepared TFDS data; empty for $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      manual_dir: Folder with the original archive under its own name; empty to download what is missing.
      cache_dir: Folder of decoded images; empty for $EFFNET_JAX_CACHE, else ~/.cache/effnet_jax.
      validation_examples: Images to hold out of the official train split. Folders and "tfds:NAME" hold out a fraction,
        but of 0 there is no validation split anywhere: the published way to train for a final number.
      resolution: Side in pixels of what the model sees.
      image_size: Side in pixels at which images are stored, of what streams that of the crops of training. None: as
        they are where they have one size, else `resolution`.
      held_out_fraction: Of folders and "tfds:NAME": share of the training images that is held out for each split
        they do not bring.
      broken_images: Of folders: "fail", or "skip" to do without images that cannot be read, and without class folders
        in which there are none.
      streaming: Whether images stay encoded on disk; None for folders no, and for others where they are large or have
        no one size.
      num_workers: Processes that decode what streams; None for one a core, 0 for threads.
      decoded_cache: Whether what streams is decoded into the cache on first use.
      crop_fraction, crop_area, crop_aspect: See `encoded.Reading` and `crops.RandomCrop`.

    Returns:
      The dataset, with the train images in a shuffled order that is always the same.

    Raises:
      UserError: If the dataset is unknown, absent or damaged, if it cannot be written where it must be, or if
        so many examples cannot be held out.
    """
    validates, root = validation_examples > 0, cache.root(cache_dir)
    found = any_tfds.find(name, data_dir, manual_dir) if any_tfds.is_tfds(name) else None
    if _streams(name, streaming, found):
        from effnet_jax.data.decode.crops import RandomCrop
        from effnet_jax.data.decode.encoded import Reading
        from effnet_jax.data.sets import photographs  # needs Pillow

        reading = Reading(
            training_side=image_size or resolution,
            evaluation_side=resolution,
            crop_fraction=crop_fraction,
            random_crop=RandomCrop(tuple(crop_area), tuple(crop_aspect)),
            num_workers=os.cpu_count() if num_workers is None else num_workers,
        )
        if folder_layout.is_folder(name):
            return photographs.folder(name, root, reading, held_out_fraction, validates, broken_images, decoded_cache)
        if found:
            return photographs.of_tfds(name, found, root, reading, held_out_fraction, validates, decoded_cache)
        return photographs.prepared(name, data_dir, manual_dir, root, reading, validation_examples, decoded_cache)
    if decoded_cache:
        raise UserError(f"{name} is held decoded anyway: leave config.dataset.decoded_cache off, it is for streaming")
    if folder_layout.is_folder(name):
        from effnet_jax.data.sets import folder  # needs Pillow

        side = image_size or resolution
        return folder.load(name, root, side, held_out_fraction, validates, broken_images)
    dataset = _decoded(name, data_dir, manual_dir, root, found, validation_examples, held_out_fraction)
    if image_size is None:
        return dataset
    from effnet_jax.data.sets import stored_size  # needs Pillow

    return stored_size.at_side(dataset, image_size)


def streams(name: str, streaming: bool | None, data_dir: str = "", manual_dir: str = "") -> bool:
    """Whether the images of a dataset stay on disk; arguments as in `load`.

    Raises:
      UserError: If there is no such dataset, it knows only the other way, or "tfds:NAME" cannot be had.
    """
    found = any_tfds.find(name, data_dir, manual_dir) if any_tfds.is_tfds(name) else None
    return _streams(name, streaming, found)


def _streams(name: str, streaming: bool | None, found: Prepared | None) -> bool:
    """`streams` of a dataset, `found` being what TFDS prepared of "tfds:NAME"."""
    if found:
        return any_tfds.streams(name, found, streaming)
    if folder_layout.is_folder(name):
        return bool(streaming)
    is_large = registry.info(name).image_size is None
    if streaming is not None and streaming != is_large:
        raise UserError(
            f"{name} {'is too large to be held decoded' if is_large else 'is small and lives on the device'}: "
            f"leave config.dataset.streaming unset"
        )
    return is_large


def _decoded(
    name: str, data_dir: str, manual_dir: str, cache_root: Path, found: Prepared | None, validation_examples: int,
    held_out_fraction: float,
) -> Dataset:  # fmt: skip
    """Loads a dataset whose images have one size; arguments as in `load` and `_streams`."""
    if found:
        return any_tfds.load(name, found, cache_root, held_out_fraction, validation_examples > 0)
    dataset_info = registry.info(name)
    if name == "digits":
        class_names, splits = digits.CLASS_NAMES, digits.load()
    else:
        cached = tfds_sets.load(dataset_info, data_dir, manual_dir, cache_root)
        class_names, splits = cached.class_names, cached.splits
    held_out = take_validation(name, Split(*splits["train"]), validation_examples)
    return Dataset(dataset_info, class_names, {**held_out, "test": Split(*splits["test"])})
