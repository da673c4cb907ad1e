"""Decoded images, stored at another size."""

import dataclasses

import numpy as np

from effnet_jax.data.decode import images
from effnet_jax.data.disk import files
from effnet_jax.data.sets.splits import Dataset, Split


def at_side(dataset: Dataset, side: int) -> Dataset:
    """Returns a decoded dataset with the central squares of its images at `side` pixels, as folders are stored."""
    if dataset.info.image_size == (side, side):
        return dataset
    total = sum(len(split.labels) for split in dataset.splits.values())
    with files.Progress(f"{dataset.info.name} at {side} px", total, "images") as progress:

        def resized(split: Split) -> Split:
            result = np.empty((len(split.labels), side, side, split.images.shape[3]), np.uint8)
            for row, image in enumerate(split.images):
                result[row] = images.stored_square(image, side)
                progress.advance(1)
            return Split(result, split.labels)

        splits = {name: resized(split) for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, image_size=(side, side)), splits=splits)
