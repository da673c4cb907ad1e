"""Datasets that TFDS prepares: found or prepared, and decoded into the cache on first use."""

import functools
import os
from pathlib import Path

from effnet_jax.data.disk import cache, descriptions, files, records
from effnet_jax.data.sets import cifar, cifar_archives, food101, imagenet2012
from effnet_jax.data.sets.registry import DatasetInfo
from effnet_jax.data.sets.splits import stratified_order
from effnet_jax.errors import UserError

# (data directory, folder of the user's archives or "") -> nothing; the dataset is in the data directory then.
_PREPARE = {
    "cifar10": functools.partial(cifar.prepare, "cifar10"),
    "cifar100": functools.partial(cifar.prepare, "cifar100"),
    "food101": food101.make,
    "imagenet2012": imagenet2012.make,
}


def load(dataset_info: DatasetInfo, data_dir: str, manual_dir: str, cache_root: Path) -> cache.Cached:
    """Loads the splits "train" and "test", the former in its stratified order.

    The images come from the first of: a cache of what TFDS prepared in the data directory; that itself;
    the user's archive; a download. A data directory that lost the dataset is no obstacle while a cache of
    it is left.

    Args:
      dataset_info: Which dataset.
      data_dir, manual_dir: As in `datasets.load`.
      cache_root: Folder of all caches.

    Raises:
      UserError: If it is absent or damaged, or cannot be written where it must be.
    """
    source, name = data_root(data_dir), dataset_info.name
    if descriptions.find(name, source, dataset_info.num_classes) is None:
        cached = _find_orphan(dataset_info, source, cache_root, not is_mistyped(data_dir), bool(manual_dir))
        if cached is not None:
            return cached
    prepared = prepared_data(dataset_info, data_dir, manual_dir)
    folder = cache_root / f"{name}-{descriptions.fingerprint(prepared, cache.FORMAT)}"
    return cache.read_or_make(folder, lambda: _decode(dataset_info, prepared), f"decoding {prepared.folder} again")


def data_root(data_dir: str) -> Path:
    """Returns the folder of prepared TFDS data: `data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()


def prepared_data(dataset_info: DatasetInfo, data_dir: str, manual_dir: str) -> descriptions.Prepared:
    """Returns the dataset as TFDS keeps it on disk, and makes that first where it is missing; arguments as in `load`.

    Raises:
      UserError: If it is damaged, cannot be had, or cannot be written where it must be.
    """
    source, name = data_root(data_dir), dataset_info.name
    find = functools.partial(descriptions.find, name, source, dataset_info.num_classes, dataset_info.test_split)
    prepared = find()
    if prepared is None:
        if is_mistyped(data_dir):
            raise UserError(f"dataset.data_dir={data_dir} does not exist: correct it, or make the folder first")
        _PREPARE[name](source, manual_dir)
        prepared = find()
    return prepared


def is_mistyped(data_dir: str) -> bool:
    """Whether `data_dir` is given and no folder."""
    return bool(data_dir) and not data_root(data_dir).is_dir()


def _find_orphan(
    dataset_info: DatasetInfo, source: Path, cache_root: Path, official_will_do: bool, has_archive: bool
) -> cache.Cached | None:
    """Returns a cache whose source is gone, or None.

    It must have been made from data in `source` or, where `official_will_do`, be as large as the official
    dataset; anything else under that name, such as a part of it that someone tried something with, would
    not be what was asked for.

    Raises:
      UserError: If all that is left is damaged, and the user gave no archive to make it from.
    """
    damage = None
    for folder in cache.folders(cache_root, dataset_info.name):
        try:
            cached = cache.read(folder)
        except cache.CorruptCache as error:
            damage = damage or error
            continue
        sizes = {split: len(labels) for split, (_, labels) in cached.splits.items()}
        official = official_will_do and sizes == dataset_info.split_sizes
        if official or Path(cached.source).parent == source / dataset_info.name:
            return cached
    if damage is not None and not has_archive:
        archive = cifar_archives.BINARY[dataset_info.name].file_name
        raise UserError(
            f"{damage}, and the data it was made from is not in {source}: set dataset.data_dir or "
            "TFDS_DATA_DIR to a folder with prepared TFDS data, or dataset.manual_dir to a folder with the "
            f"original {archive}, or delete the damaged folder to download the data again"
        )
    return None


def _decode(dataset_info: DatasetInfo, prepared: descriptions.Prepared) -> cache.Cached:
    """Decodes both splits; train is put in the order from which any validation split is a prefix."""
    sizes = {split: prepared.num_records[split] for split in dataset_info.split_sizes}
    if sizes != dataset_info.split_sizes:
        files.say(
            f"{prepared.folder} holds {sizes} images; the official {dataset_info.name} holds {dataset_info.split_sizes}"
        )
    with files.Progress(f"decoding {dataset_info.name}, once", sum(sizes.values()), "images") as progress:
        splits = {split: records.decode(prepared, split, dataset_info.image_size, progress) for split in sizes}
    images, labels = splits["train"]
    order = stratified_order(labels)
    splits["train"] = (images[order], labels[order])
    return cache.Cached(prepared.class_names, splits, str(prepared.folder))
