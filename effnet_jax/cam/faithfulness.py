"""Whether a map is true: what becomes of the confidence when pixels go that it calls important, or stay.

Each measure takes `confidence`, a function of normalised images [N, H, W, 3] -> probability [N] of the class
explained, and gives one figure an image. Removed pixels become 0, the data set's mean colour, except in ROAD.
All of these favour maps of a certain width: a figure means something only beside those of `controls`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.cam.imputation import impute

Confidence = Callable[[jax.Array], jax.Array]
STEPS = 20  # of deletion and insertion
FRACTIONS = tuple(i / 10 for i in range(1, 10))  # of the pixels that ROAD removes
ROAD_NOISE = 0.01  # standard deviation, in normalised units
BLUR = 5 / 224  # of the side: RISE's blur
LEAST_BLUR = 2.0  # pixels: with less a small image stays as good as sharp
HIGHER_IS_BETTER = {"average_drop": False, "increase": True, "deletion": False, "insertion": True, "road": True}


def measure(confidence: Confidence, images: jax.Array, maps: jax.Array, key: jax.Array) -> dict[str, np.ndarray]:
    """Takes all measures.

    Args:
      confidence: of the class that the maps explain.
      images: normalised float [N, H, W, 3].
      maps: float [N, H, W] in [0, 1].
      key: breaks ties between pixels, and is the noise of ROAD.

    Returns:
      float [N] for "average_drop", "increase", "deletion", "insertion" and "road".
    """
    tie_key, noise_key = jax.random.split(key)
    ranks = pixel_ranks(maps, tie_key)
    found = {
        **drop_and_increase(confidence, images, maps),
        "deletion": deletion(confidence, images, ranks),
        "insertion": insertion(confidence, images, ranks),
        "road": road(confidence, images, ranks, noise_key),
    }
    return {name: np.asarray(values) for name, values in found.items()}


def drop_and_increase(confidence: Confidence, images: jax.Array, maps: jax.Array) -> dict[str, jax.Array]:
    """Average drop and increase in confidence (Chattopadhay et al. 2018, section 4.1).

    Y is the confidence in the image, O in map * image. "average_drop" is max(0, Y - O) / Y, "increase" is 1 where
    O > Y and 0 elsewhere; their means are the published figures, here as fractions.
    """
    whole, kept = confidence(images), confidence(images * maps[..., None])
    return {"average_drop": jnp.maximum(0, whole - kept) / whole, "increase": (kept > whole).astype(jnp.float32)}


def deletion(confidence: Confidence, images: jax.Array, ranks: jax.Array) -> jax.Array:
    """Deletion (RISE, Petsiuk et al. 2018, section 3.2): area under the confidence as the best pixels go first."""
    return _area(confidence, images, jnp.zeros_like(images), ranks)


def insertion(confidence: Confidence, images: jax.Array, ranks: jax.Array) -> jax.Array:
    """Insertion (as `deletion`): area under the confidence as the best pixels come first to a blurred image."""
    return _area(confidence, blurred(images), images, ranks)


def road(confidence: Confidence, images: jax.Array, ranks: jax.Array, key: jax.Array) -> jax.Array:
    """ROAD (Rong et al. 2022), combined: (least relevant first - most relevant first) / 2.

    The confidence left when the least relevant pixels are removed, less that when the most relevant are, averaged over
    10 to 90 % of the pixels. They are filled by `impute` and noise. As pytorch-grad-cam's ROADCombined, except that
    exactly that share is removed: ties are broken at random, not all kept.
    """
    pixels = ranks.shape[1] * ranks.shape[2]
    total = 0.0
    for fraction, step_key in zip(FRACTIONS, jax.random.split(key, len(FRACTIONS))):
        count = round(fraction * pixels)
        least = confidence(_imputed(images, ranks >= pixels - count, step_key))
        most = confidence(_imputed(images, ranks < count, step_key))
        total += (least - most) / 2
    return total / len(FRACTIONS)


@jax.jit
def pixel_ranks(maps: jax.Array, key: jax.Array) -> jax.Array:
    """Ranks the pixels of each map [N, H, W], int32 from 0 for the largest; ties are in random order."""
    flat = maps.reshape(maps.shape[0], -1)
    order = jnp.lexsort((jax.random.uniform(key, flat.shape), -flat), axis=-1)
    return jnp.argsort(order, axis=-1).astype(jnp.int32).reshape(maps.shape)


@jax.jit
def blurred(images: jax.Array) -> jax.Array:
    """Blurs [N, H, W, C] by a Gaussian, renormalised at the border."""
    rows, columns = (_blur_matrix(side) for side in images.shape[1:3])
    return jnp.einsum("hi,wj,nijc->nhwc", rows, columns, images)


def mean_and_interval(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean of [N] values and the half-width of its 95 % confidence interval (normal approximation)."""
    values = np.asarray(values, np.float64)
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    return float(values.mean()), float(1.96 * spread / np.sqrt(len(values)))


def bootstrap_intervals(values: np.ndarray, resamples: int = 10_000, seed: int = 0) -> np.ndarray:
    """Returns the ends [K, 2] of the 95 % percentile bootstrap intervals of the means of values [K, N] (Efron 1979).

    With differences of two maps on the same N images this is the paired bootstrap: the spread between images, which
    both share, drops out. All K rows see the same resamples.
    """
    values = np.asarray(values, np.float64)
    generator, count = np.random.default_rng(seed), values.shape[1]
    means = [values[:, generator.integers(count, size=count)].mean(1) for _ in range(resamples)]
    return np.quantile(means, (0.025, 0.975), axis=0).T


def _area(confidence: Confidence, before: jax.Array, after: jax.Array, ranks: jax.Array) -> jax.Array:
    """Area (trapezoids over 0..1) under the confidence while pixels of `before` turn, best first, into `after`."""
    counts = [round(step * ranks[0].size / STEPS) for step in range(STEPS + 1)]
    curve = jnp.stack([confidence(_mixed(before, after, ranks, count)) for count in counts])
    return (curve[:-1] + curve[1:]).mean(0) / 2


@jax.jit
def _mixed(before: jax.Array, after: jax.Array, ranks: jax.Array, count: int) -> jax.Array:
    return jnp.where(ranks[..., None] < count, after, before)


def _imputed(images: jax.Array, missing: jax.Array, key: jax.Array) -> jax.Array:
    return _with_noise(impute(images, missing), missing, key)


@jax.jit
def _with_noise(images: jax.Array, missing: jax.Array, key: jax.Array) -> jax.Array:
    return images + missing[..., None] * (ROAD_NOISE * jax.random.normal(key, images.shape, images.dtype))


@functools.lru_cache(maxsize=8)
def _blur_matrix(side: int) -> np.ndarray:
    position = np.arange(side) / max(BLUR * side, LEAST_BLUR)
    weights = np.exp(-0.5 * (position[:, None] - position) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
