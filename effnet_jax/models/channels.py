"""Weights of one number of image channels for another, and the constants that images are normalised by.

The rule is timm's: for one channel the kernels of all are summed, which is what a grey image gives that is shown as
colour; for more they are repeated in turn, and scaled so that the sum over all channels stays about what it was.
"""

from collections.abc import Sequence

import numpy as np

from effnet_jax.errors import UserError


def adapted_kernel(kernel: np.ndarray, in_channels: int) -> np.ndarray:
    """Returns the stem's kernel [k, k, C, out] for images of `in_channels` channels.

    Raises:
      UserError: several channels, of which nothing says which they are, for several others.
    """
    channels = kernel.shape[2]
    if channels == in_channels:
        return kernel
    if in_channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    if channels not in (1, 3):
        raise UserError(
            f"weights for {channels} channels cannot be adapted to {in_channels}; use in_channels={channels} or 1"
        )
    return _repeated(kernel, in_channels, axis=2) * np.asarray(channels / in_channels, kernel.dtype)


def adapted_constants(values: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """Returns means, or standard deviations, by channel for images of `in_channels` channels."""
    if len(values) == in_channels:
        return tuple(values)
    if in_channels == 1:
        return (sum(values) / len(values),)
    return tuple(_repeated(np.asarray(values), in_channels, axis=0).tolist())


def _repeated(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    return np.take(array, np.arange(count) % array.shape[axis], axis)
