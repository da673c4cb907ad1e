"""Mixup and CutMix: each image with another one of its batch, labels as probabilities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from effnet_jax.data.device.augment.erase import rectangles

_INTERVALS = 1024
_LARGEST_POWER = 16.0


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mixes each image of a batch with its counterpart in the reversed batch.

    With shares w and 1 - w, w from Beta(alpha, alpha): mixup (Zhang et al. 2018) adds the images, CutMix (Yun et
    al. 2019) puts a rectangle of the other image in. Each image is mixed or not, and by which of the two, on its own.

    Attributes:
      mixup_alpha, cutmix_alpha: of the Beta distribution; 0 turns one off.
      probability: that an image is mixed at all.
      cutmix_probability: that it is by CutMix where both are on.
    """

    mixup_alpha: float
    cutmix_alpha: float
    probability: float
    cutmix_probability: float

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed."""
        return self.probability > 0 and max(self.mixup_alpha, self.cutmix_alpha) > 0

    def __call__(
        self, key: jax.Array, images: jax.Array, labels: jax.Array, mixed: jax.Array | bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes float images [N, H, W, C] and label probabilities [N, classes] if `mixed`, a bool []."""
        # No branch on `mixed`: devices exchange images here, which they had better not do inside of one.
        weight = jnp.where(mixed, self._weights(key, images.shape[0], images.shape[1:3]), 1.0)
        share = jnp.mean(weight, axis=(1, 2))[:, None]  # after the rectangle was cut to the image
        weight = weight[..., None].astype(images.dtype)
        return weight * images + (1 - weight) * images[::-1], share * labels + (1 - share) * labels[::-1]

    def _weights(self, key: jax.Array, count: int, size: tuple[int, int]) -> jax.Array:
        """Draws how much of each pixel is the image's own, float32 [N, H, W]."""
        mixup_key, cutmix_key, apply_key, which_key = jax.random.split(key, 4)
        whole = jnp.ones((count, *size), jnp.float32)
        mixup = whole * _beta(mixup_key, self.mixup_alpha, count)[:, None, None]
        cutmix = 1 - self._box(cutmix_key, count, size).astype(jnp.float32)
        if self.mixup_alpha and self.cutmix_alpha:
            by_cutmix = jax.random.bernoulli(which_key, self.cutmix_probability, (count, 1, 1))
            mixed = jnp.where(by_cutmix, cutmix, mixup)
        else:
            mixed = cutmix if self.cutmix_alpha else mixup
        return jnp.where(jax.random.bernoulli(apply_key, self.probability, (count, 1, 1)), mixed, whole)

    def _box(self, key: jax.Array, count: int, size: tuple[int, int]) -> jax.Array:
        """Draws a rectangle of the image's shape and a share 1 - w of its area about any point; bool [N, H, W]."""
        share_key, row_key, column_key = jax.random.split(key, 3)
        ratio = jnp.sqrt(1 - _beta(share_key, self.cutmix_alpha, count))
        heights, widths = (jnp.floor(ratio * side).astype(jnp.int32) for side in size)
        row = jax.random.randint(row_key, (count,), 0, size[0])
        column = jax.random.randint(column_key, (count,), 0, size[1])
        # Edges as in the authors' code: both are cut to the image, and half of a side is rounded down.
        bottom, right = row + heights // 2, column + widths // 2
        top, left = row - heights // 2, column - widths // 2
        return rectangles(top, left, bottom - top, right - left, size)


def _beta(key: jax.Array, alpha: float, count: int) -> jax.Array:
    """Draws float32 [count] from Beta(alpha, alpha) as its quantiles of uniform variates.

    `jax.random.beta` rejects and draws again, in loops of which each turn's end must be waited for on an accelerator.
    """
    if not alpha:  # unused, but of a shape
        return jnp.ones(count)
    uniform = jax.random.uniform(key, (count,))
    if alpha == 1:
        return uniform
    power, table = _quantiles(alpha)
    # The distribution is symmetric: the table covers the lower half.
    place = jnp.minimum(uniform, 1 - uniform) * (2 * _INTERVALS)
    index = jnp.minimum(place.astype(jnp.int32), _INTERVALS - 1)
    table = jnp.asarray(table)
    low, high = table[index], table[index + 1]
    lower = (low + (place - index) * (high - low)) ** (1 / power)
    return jnp.where(uniform < 0.5, lower, 1 - lower)


@functools.lru_cache
def _quantiles(alpha: float) -> tuple[float, np.ndarray]:
    """Returns a power and the quantiles of Beta(alpha, alpha) to it at `_INTERVALS + 1` probabilities from 0 to 1/2.

    To the power alpha, quantiles start as a straight line. Interpolated in this form they are wrong by less than 1e-5
    for alpha from 0.05 to 1, 2e-4 up to 3, and 0.02 beyond, where only shares as rare as one in a thousand are wrong by
    more than 5e-4.
    """
    power = min(alpha, _LARGEST_POWER)  # more would underflow and gain nothing
    probabilities = np.linspace(0, 0.5, _INTERVALS + 1)
    return power, np.float32(scipy.special.betaincinv(alpha, alpha, probabilities) ** power)
