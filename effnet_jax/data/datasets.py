"""Datasets by name: sizes, classes, normalisation, and the images themselves as uint8 arrays.

The one place that knows these facts. `load` returns splits that are ready to be put on the device; no
module here imports JAX, and TFDS is imported only when images have to be decoded.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np

from effnet_jax.data import cache, files, prepare, records
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


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, 3], maybe a read-only memory map, and their labels int32 [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A loaded dataset: its facts, a name for each label, and the splits "train", "validation", "test"."""

    info: DatasetInfo
    class_names: tuple[str, ...]
    splits: dict[str, Split]


# Mean and standard deviation of cifar100 and digits are recomputed from the images in tests/data.
_DATASETS = {
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
    if name not in _DATASETS:
        known = ", ".join(_DATASETS)
        raise UserError(f"unknown dataset {name!r}{did_you_mean(name, _DATASETS)}: choose one of {known}")
    return _DATASETS[name]


def load(
    name: str,
    *,
    data_dir: str = "",
    manual_dir: str = "",
    cache_dir: str = "",
    validation_examples: int = 5000,
) -> Dataset:
    """Loads dataset `name`, decoding it into the cache on first use.

    The images come from the first of: a cache of what TFDS prepared in the data directory; that itself;
    the user's archive; a download. A data directory that lost the dataset is no obstacle while a cache of
    it is left.

    The validation split is a stratified part of the official train split. It is the same in every run,
    whatever its seed, so that runs are compared on the same images, and a smaller one is part of a larger.

    Args:
      name: "cifar10", "cifar100" or "digits".
      data_dir: Folder of prepared TFDS data; empty for $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      manual_dir: Folder with the original archive under its own name; empty to download what is missing.
      cache_dir: Folder of decoded images; empty for $EFFNET_JAX_CACHE, else ~/.cache/effnet_jax.
      validation_examples: Images to hold out of the official train split.

    Returns:
      The dataset, with the train images in a shuffled order that is always the same.

    Raises:
      UserError: If the dataset is unknown, absent or damaged, if it cannot be written where it must be, or if
        so many validation examples cannot be held out.
    """
    dataset_info = info(name)
    if name == "digits":
        class_names = tuple(str(digit) for digit in range(10))
        splits = _load_digits()
    else:
        cached = _load_cached(dataset_info, data_dir, manual_dir, cache.root(cache_dir))
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


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Returns an order of the examples, int64 [N], every prefix of which is a stratified sample.

    A prefix of n examples holds n * N_c / N of class c, up to rounding, chosen at random among the class: an
    example of rank r (from 0) among the N_c of its class stands at the fraction (r + 1/2) / N_c of the order.
    Ranks and ties follow a hash of the position rather than a random generator, since NumPy keeps the streams
    of its generators only within a version.

    Args:
      labels: int [N].
    """
    keys = _splitmix64(np.arange(len(labels), dtype=np.uint64))
    shuffled = np.lexsort((keys, labels))  # class by class, at random within each
    _, first, class_of, counts = np.unique(labels[shuffled], return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(labels)) - first[class_of]
    fraction = (2 * rank + 1) / (2 * counts[class_of])
    return shuffled[np.lexsort((keys[shuffled], fraction))]


def _splitmix64(values: np.ndarray) -> np.ndarray:
    """The hash in the SplitMix64 generator (Steele, Lea & Flood 2014), uint64 [N] -> uint64 [N]."""
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _checked_validation_size(name: str, labels: np.ndarray, validation_examples: int) -> int:
    num_present = len(np.unique(labels))
    largest = len(labels) - num_present
    if not num_present <= validation_examples <= largest:
        raise UserError(
            f"validation_examples={validation_examples} cannot be held out of the {len(labels)} training "
            f"images of {name}: choose a number from {num_present}, one a class, to {largest}"
        )
    return validation_examples


def _load_digits() -> dict[str, cache.Arrays]:
    """The 1,797 digits that ship inside scikit-learn; every fifth, stratified, is a test image."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(f"the dataset digits is part of scikit-learn ({error}): pip install scikit-learn") from error
    digits = load_digits()
    gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored levels are 0, 1, ..., 16
    images = np.repeat(gray[..., None], 3, axis=-1)
    labels = digits.target.astype(np.int32)
    order = stratified_order(labels)
    num_test = round(len(labels) / 5)
    test, train = order[:num_test], order[num_test:]
    train = train[stratified_order(labels[train])]
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}


def _load_cached(dataset_info: DatasetInfo, data_dir: str, manual_dir: str, cache_root: Path) -> cache.Cached:
    name = dataset_info.name
    source = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().absolute()
    prepared = records.find(name, source, dataset_info.num_classes)
    if prepared is None:
        mistyped = bool(data_dir) and not source.is_dir()
        cached = _find_orphan(dataset_info, source, cache_root, not mistyped, bool(manual_dir))
        if cached is not None:
            return cached
        if mistyped:
            raise UserError(f"dataset.data_dir={data_dir} does not exist: correct it, or make the folder first")
        prepare.prepare(name, source, manual_dir)
        prepared = records.find(name, source, dataset_info.num_classes)
    folder = cache_root / f"{name}-{records.fingerprint(prepared, cache.FORMAT)}"
    try:
        cached = cache.read(folder)
    except cache.CorruptCache as error:
        files.say(f"{error}: decoding {prepared.folder} again")
        cached = None
    return cached or cache.write(folder, _decode(dataset_info, prepared))


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
        archive = prepare.ARCHIVES[dataset_info.name].file_name
        raise UserError(
            f"{damage}, and the data it was made from is not in {source}: set dataset.data_dir or "
            "TFDS_DATA_DIR to a folder with prepared TFDS data, or dataset.manual_dir to a folder with the "
            f"original {archive}, or delete the damaged folder to download the data again"
        )
    return None


def _decode(dataset_info: DatasetInfo, prepared: records.Prepared) -> cache.Cached:
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
