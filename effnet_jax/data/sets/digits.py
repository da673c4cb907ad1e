"""Handwritten digits that need no download."""

import numpy as np

from effnet_jax.data.disk.cache import Arrays
from effnet_jax.data.sets.splits import stratified_order
from effnet_jax.errors import UserError

CLASS_NAMES = tuple(map(str, range(10)))


def load() -> dict[str, Arrays]:
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
