"""Datasets whose images stay on disk: what is in them, and what is held out."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from effnet_jax.data.decode import crops, decoded, images, index
from effnet_jax.data.decode.encoded import EncodedSplit, FileStore, Reading
from effnet_jax.data.disk import cache, descriptions, files
from effnet_jax.data.disk.descriptions import Prepared
from effnet_jax.data.sets import any_tfds, folder_layout, registry, tfds_sets
from effnet_jax.data.sets import folder as resident_folder
from effnet_jax.data.sets.splits import Dataset, hold_out, stratified_order, take_validation


def prepared(
    name: str,
    data_dir: str,
    manual_dir: str,
    cache_root: Path,
    reading: Reading,
    validation_examples: int,
    decoded_cache: bool,
) -> Dataset:
    """Opens a dataset in TFDS's layout; arguments as in `datasets.load`.

    Raises:
      UserError: If it is absent or damaged, cannot be written where it must be, or so many examples cannot be
        held out.
    """
    facts = registry.info(name)
    found = tfds_sets.prepared_data(facts, data_dir, manual_dir)
    sizes = {split: found.num_records[split] for split in facts.split_sizes}
    if sizes != facts.split_sizes:
        files.say(f"{found.folder} holds {sizes} images; the official {name} holds {facts.split_sizes}")
    splits = index.of_records(name, found, cache_root, reading)
    if decoded_cache:
        fingerprint = descriptions.fingerprint(found, cache.FORMAT)
        splits = decoded.keep(splits, cache_root / f"decoded-{name}-{fingerprint}", name)
    train = _in_stratified_order(splits["train"])
    return Dataset(
        info=facts,
        class_names=found.class_names,
        splits={**take_validation(name, train, validation_examples), "test": splits["test"]},
        crop_fraction=reading.crop_fraction,
    )


def folder(
    name: str,
    cache_root: Path,
    reading: Reading,
    held_out_fraction: float,
    validates: bool,
    broken_images: str,
    decoded_cache: bool,
) -> Dataset:
    """Opens the dataset "folder:PATH"; arguments as in `datasets.load` and `hold_out`, layout as in `folder_layout`.

    It is normalised as ImageNet is: its own statistics would take a pass over all pixels. An image that cannot be
    decoded ends the run that reads it. With `broken_images` "skip" all images are tried once, and it is left out.

    Raises:
      UserError: If the folder is not one of classes, or a split would lack a class.
    """
    layout = folder_layout.find(name, skip_empty=broken_images == resident_folder.SKIP)
    layout.say_remarks()
    splits = {
        split: EncodedSplit(
            FileStore(layout.path, tuple(str(file.relative_to(layout.path)) for file, _ in entries)),
            np.arange(len(entries)),
            np.array([label for _, label in entries], np.int32),
            reading,
        )
        for split, entries in layout.splits.items()
    }
    if broken_images == resident_folder.SKIP:
        splits = _without_broken(layout, splits, cache_root)
    if decoded_cache:
        fingerprint = resident_folder.fingerprint(layout, 0, broken_images)
        splits = decoded.keep(splits, cache_root / f"decoded-folder-{fingerprint}", str(layout.path))
    return _dataset(name, layout.class_names, splits, reading, held_out_fraction, validates)


def of_tfds(
    name: str,
    found: Prepared,
    cache_root: Path,
    reading: Reading,
    held_out_fraction: float,
    validates: bool,
    decoded_cache: bool,
) -> Dataset:
    """Opens the dataset "tfds:NAME"; arguments as in `datasets.load` and `hold_out`, normalised as a folder.

    Raises:
      UserError: If it is damaged, the cache cannot be written, or a split would lack a class.
    """
    splits = index.of_records(any_tfds.cache_name(name), found, cache_root, reading)
    if decoded_cache:
        fingerprint = descriptions.fingerprint(found, cache.FORMAT)
        splits = decoded.keep(splits, cache_root / f"decoded-{any_tfds.cache_name(name)}-{fingerprint}", name)
    return _dataset(name, found.class_names, splits, reading, held_out_fraction, validates)


def _dataset(
    name: str,
    class_names: tuple[str, ...],
    splits: dict[str, EncodedSplit],
    reading: Reading,
    held_out_fraction: float,
    validates: bool,
) -> Dataset:
    """Holds out what a dataset lacks, and normalises it as ImageNet is."""
    splits = {**splits, "train": _in_stratified_order(splits["train"])}
    sizes = {split: len(content) for split, content in splits.items()}
    splits = hold_out(name, splits, len(class_names), held_out_fraction, validates)
    facts = registry.DatasetInfo(
        name=name,
        num_classes=len(class_names),
        image_size=None,
        split_sizes={"train": sizes["train"], "test": len(splits["test"])},
        mean=registry.IMAGENET_MEAN,
        std=registry.IMAGENET_STD,
    )
    return Dataset(facts, class_names, splits, reading.crop_fraction)


def _in_stratified_order(split: EncodedSplit) -> EncodedSplit:
    return split.part(stratified_order(split.labels))


def _without_broken(
    layout: folder_layout.Layout, splits: dict[str, EncodedSplit], cache_root: Path
) -> dict[str, EncodedSplit]:
    """Leaves out what cannot be decoded; which that is, is kept in the cache."""
    kept_at = cache_root / f"index-folder-{resident_folder.fingerprint(layout, 0, resident_folder.SKIP)}"

    def make() -> cache.Cached:
        broken: list[str] = []
        total = sum(map(len, splits.values()))
        with files.Progress(f"looking for broken images in {layout.path}, once", total, "images") as progress:
            whole = {split: _readable(content, broken, progress) for split, content in splits.items()}
        if broken:
            resident_folder.report(broken, total, resident_folder.SKIP)
        arrays = {split: (numbers, splits[split].labels[numbers]) for split, numbers in whole.items()}
        return cache.Cached(layout.class_names, arrays, str(layout.path))

    cached = cache.read_or_make(kept_at, make, f"looking at {layout.path} again")
    return {split: splits[split].part(numbers) for split, (numbers, _) in cached.splits.items()}


def _readable(split: EncodedSplit, broken: list[str], progress: files.Progress) -> np.ndarray:
    """Returns the indices int64 [N] of the images that can be decoded; adds a line to `broken` for each other."""

    def look(position: int) -> images.UnreadableImageError | None:
        try:
            encoded = split[position]
            crops.central_crop(encoded.content, encoded.name, 1, 1.0)  # at an eighth of its size
        except images.UnreadableImageError as error:
            return error
        return None

    good = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for position, error in enumerate(pool.map(look, range(len(split)))):
            progress.advance(1)
            if error is None:
                good.append(position)
            else:
                broken.append(str(error))
    return np.array(good, np.int64)
