"""The size at which images are held decoded, and the memory that this takes."""

import dataclasses
import os

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.disk import files
from effnet_jax.data.sets.splits import Dataset, Split
from effnet_jax.errors import UserError

# Share of the machine's memory that the arrays may take: they are decoded into it, and on a CPU copied there.
_MEMORY_SHARE = 0.4


def at_side(dataset: Dataset, side: int) -> Dataset:
    """Returns a decoded dataset with the central squares of its images at `side` pixels, as folders are stored.

    Raises:
      UserError: They need more memory than there is.
    """
    if dataset.info.image_size == (side, side):
        return dataset
    total = sum(len(split.labels) for split in dataset.splits.values())
    check_memory(dataset.info.name, total, side)
    with files.Progress(f"{dataset.info.name} at {side} px", total, "images") as progress:

        def resized(split: Split) -> Split:
            result = np.empty((len(split.labels), side, side, split.images.shape[3]), np.uint8)
            for row, image in enumerate(split.images):
                result[row] = images.stored_square(image, side)
                progress.advance(1)
            return Split(result, split.labels)

        splits = {name: resized(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, image_size=(side, side)), splits=splits)


def check_memory(name: str, count: int, side: int) -> None:
    """Raises a `UserError` where so many colour images of `side` pixels are too much for this machine."""
    memory, num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), count * side**2 * 3
    if num_bytes > _MEMORY_SHARE * memory:
        raise UserError(
            f"the images of {name} take {num_bytes / 2**30:.1f} GiB at {side} px, which the "
            f"{memory / 2**30:.1f} GiB of this machine do not hold well: set a smaller --config.dataset.image_size"
        )
