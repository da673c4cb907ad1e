"""A folder of images of any size as arrays of one size, decoded into the cache on first use."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.disk import cache, files
from effnet_jax.data.sets import folder_layout, stored_size
from effnet_jax.data.sets.folder_layout import Layout
from effnet_jax.data.sets.registry import DatasetInfo
from effnet_jax.data.sets.splits import Dataset, Split, hold_out, stratified_order
from effnet_jax.errors import UserError

FAIL, SKIP = "fail", "skip"

_MAX_NAMES_SHOWN = 5
_IMAGES_AT_A_TIME = 1024


def load(
    name: str, cache_root: Path, image_size: int, held_out_fraction: float, validates: bool, broken_images: str
) -> Dataset:
    """Loads the dataset "folder:PATH"; arguments and layout as in `datasets.load`, `hold_out` and `folder_layout`.

    Each image is cut to its central square and resized to `image_size` pixels by the rule of `Preprocess`. Mean
    and standard deviation are those of the images of the folder's training split, what is held out of it included.

    Raises:
      UserError: If the folder is not one of classes, an image is broken and must not be, they need more memory
        than there is, or a split would lack a class.
    """
    layout = folder_layout.find(name, skip_empty=broken_images == SKIP)
    layout.say_remarks()
    folder = cache_root / f"folder-{fingerprint(layout, image_size, broken_images)}"
    cached = cache.read_or_make(
        folder, lambda: _decode(layout, image_size, broken_images), f"decoding {layout.path} again"
    )
    mean, std = statistics(cached.splits["train"][0])
    train_size = len(cached.splits["train"][1])
    present = {split: Split(*arrays) for split, arrays in cached.splits.items()}
    splits = hold_out(name, present, len(cached.class_names), held_out_fraction, validates)
    dataset_info = DatasetInfo(
        name=name,
        num_classes=len(layout.class_names),
        image_size=(image_size, image_size),
        split_sizes={"train": train_size, "test": len(splits["test"].labels)},
        mean=mean,
        std=std,
    )
    return Dataset(dataset_info, cached.class_names, splits)


def fingerprint(layout: Layout, image_size: int, broken_images: str) -> str:
    """Changes with every name, size and time of change of a file, and with what is made of them."""
    digest = hashlib.sha256(f"{cache.FORMAT} {image_size} {broken_images}".encode())
    for split, entries in layout.splits.items():
        for file, _ in entries:
            status = file.stat() if file.exists() else file.lstat()  # a broken link
            entry = (split, str(file.relative_to(layout.path)), status.st_size, status.st_mtime_ns)
            digest.update(repr(entry).encode())
    return digest.hexdigest()[:16]


def _decode(layout: Layout, image_size: int, broken_images: str) -> cache.Cached:
    """Decodes every split; train is put in the order from which any held-out part is a prefix."""
    total = sum(map(len, layout.splits.values()))
    stored_size.check_memory(str(layout.path), total, image_size)
    broken: list[str] = []
    with files.Progress(f"decoding {layout.path}, once", total, "images") as progress:
        splits = {
            split: _decode_split(entries, image_size, broken, progress) for split, entries in layout.splits.items()
        }
    if broken:
        report(broken, total, broken_images)
    arrays, labels = splits["train"]
    order = stratified_order(labels)
    splits["train"] = (arrays[order], labels[order])
    return cache.Cached(layout.class_names, splits, str(layout.path))


def report(broken: list[str], total: int, broken_images: str) -> None:
    """Names some of the images that cannot be used.

    Raises:
      UserError: There must be none.
    """
    shown = "; ".join(broken[:_MAX_NAMES_SHOWN]) + ("; ..." if len(broken) > _MAX_NAMES_SHOWN else "")
    if broken_images == FAIL:
        raise UserError(
            f"{len(broken)} of {total} images cannot be used ({shown}): mend or remove them, or set "
            f"--config.dataset.broken_images={SKIP}"
        )
    files.say(f"{len(broken)} of {total} images cannot be used and are left out ({shown})")


def _decode_split(
    entries: Sequence[tuple[Path, int]], image_size: int, broken: list[str], progress: files.Progress
) -> cache.Arrays:
    """Returns the readable ones as uint8 [N, S, S, 3] and labels int32 [N]; adds a line to `broken` for each other."""
    decoded = np.empty((len(entries), image_size, image_size, 3), np.uint8)
    labels = np.empty(len(entries), np.int32)
    count = 0

    def read(entry: tuple[Path, int]) -> np.ndarray | images.UnreadableImageError:
        try:
            return images.stored_square(images.read_image(entry[0]), image_size)
        except images.UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(entries), _IMAGES_AT_A_TIME):
            chunk = entries[start : start + _IMAGES_AT_A_TIME]
            for (_, label), image in zip(chunk, pool.map(read, chunk)):
                progress.advance(1)
                if isinstance(image, images.UnreadableImageError):
                    broken.append(str(image))
                else:
                    decoded[count], labels[count] = image, label
                    count += 1
    return decoded[:count], labels[:count]


def statistics(arrays: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Returns mean and standard deviation of each channel as fractions of 255; sums of integers, so exact."""
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(arrays), _IMAGES_AT_A_TIME):
        chunk = arrays[start : start + _IMAGES_AT_A_TIME]
        counts += np.stack([np.bincount(chunk[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255
    mean = counts @ levels / counts[0].sum()
    std = np.sqrt(counts @ levels**2 / counts[0].sum() - mean**2)
    return tuple(mean.tolist()), tuple(np.maximum(std, 1 / 255).tolist())  # one colour all over must not divide by 0
