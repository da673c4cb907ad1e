"""Policies draw for each image which operations it gets: AutoAugment, RandAugment, TrivialAugment.

The strengths of an operation are a table of magnitudes in its own unit; signs are drawn where they make sense.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.device.augment.operations import NAMES
from effnet_jax.data.device.augment.subpolicies import CIFAR10, IMAGENET, SubPolicy
from effnet_jax.errors import UserError, did_you_mean

SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")
ENHANCEMENTS = ("brightness", "color", "contrast", "sharpness")  # magnitude m is a factor of 1 + m or 1 - m
# RandAugment's and TrivialAugment's; AutoAugment has invert in addition.
COMMON = tuple(name for name in NAMES if name != "invert")

AUTOAUGMENT_BINS, COMMON_BINS = 10, 31
RELATIVE_SHIFT = 150 / 331  # largest translation, as a share of the image: 150 of the 331 px of AutoAugment's ImageNet
TRIVIAL_SHIFT = 32  # pixels

Draw = tuple[jax.Array, jax.Array]  # operations int32 [N, L], magnitudes float32 [N, L]


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """One of the sub-policies for each image, each of its two operations with its own probability.

    Cubuk et al. 2019, AutoAugment: tables 7 and 9.
    """

    subpolicies: tuple[SubPolicy, ...]

    def draw(self, key: jax.Array, count: int, image_size: tuple[int, int]) -> Draw:
        """Draws for `count` images of `image_size`, height and width."""
        which_key, apply_key, sign_key = jax.random.split(key, 3)
        levels = _levels(AUTOAUGMENT_BINS, image_size)
        table = jnp.array([[NAMES.index(name) for name, _, _ in pair] for pair in self.subpolicies])
        probability = jnp.array([[chance for _, chance, _ in pair] for pair in self.subpolicies])
        level = jnp.array([[level for _, _, level in pair] for pair in self.subpolicies])
        which = jax.random.randint(which_key, (count,), 0, len(self.subpolicies))
        applied = jax.random.uniform(apply_key, (count, 2)) < probability[which]
        chosen = jnp.where(applied, table[which], NAMES.index("identity"))
        return chosen, _magnitudes(sign_key, levels, chosen, level[which])


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """`layers` operations, each drawn from all, all of one strength (Cubuk et al. 2020, RandAugment, section 3).

    Attributes:
      layers: N of the paper.
      strength: M, 0 to 30.
    """

    layers: int
    strength: int

    def draw(self, key: jax.Array, count: int, image_size: tuple[int, int]) -> Draw:
        """Draws for `count` images of `image_size`, height and width."""
        which_key, sign_key = jax.random.split(key)
        chosen = _any_of_common(which_key, (count, self.layers))
        level = jnp.full(chosen.shape, self.strength)
        return chosen, _magnitudes(sign_key, _levels(COMMON_BINS, image_size), chosen, level)


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """One operation of any strength, its "wide" ranges (Müller & Hutter 2021, TrivialAugment, table 1)."""

    def draw(self, key: jax.Array, count: int, image_size: tuple[int, int]) -> Draw:
        """Draws for `count` images; the ranges do not depend on `image_size`."""
        which_key, level_key, sign_key = jax.random.split(key, 3)
        chosen = _any_of_common(which_key, (count, 1))
        level = jax.random.randint(level_key, chosen.shape, 0, COMMON_BINS)
        return chosen, _magnitudes(sign_key, _wide_levels(), chosen, level)


Policy = AutoAugment | RandAugment | TrivialAugment
POLICIES = ("", "autoaugment_cifar10", "autoaugment_imagenet", "randaugment", "trivialaugment")


def make_policy(name: str, randaugment_layers: int, randaugment_strength: int) -> Policy | None:
    """Returns the policy of that name; None for "".

    Raises:
      UserError: There is no such policy, or an impossible strength.
    """
    if name not in POLICIES:
        known = ", ".join(filter(None, POLICIES))
        raise UserError(f"unknown config.augment.policy {name!r}{did_you_mean(name, POLICIES)}: choose one of {known}")
    if name == "randaugment" and not (randaugment_layers > 0 and 0 <= randaugment_strength < COMMON_BINS):
        raise UserError(
            f"config.augment.randaugment_layers={randaugment_layers} and randaugment_strength="
            f"{randaugment_strength}: at least 1 layer, and a strength from 0 to {COMMON_BINS - 1}"
        )
    return {
        "": None,
        "autoaugment_cifar10": AutoAugment(CIFAR10),
        "autoaugment_imagenet": AutoAugment(IMAGENET),
        "randaugment": RandAugment(randaugment_layers, randaugment_strength),
        "trivialaugment": TrivialAugment(),
    }[name]


def _any_of_common(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    numbers = jnp.array([NAMES.index(name) for name in COMMON])
    return numbers[jax.random.randint(key, shape, 0, len(COMMON))]


def _magnitudes(key: jax.Array, levels: dict[str, np.ndarray], chosen: jax.Array, level: jax.Array) -> jax.Array:
    """Looks up each operation's strength, draws its sign, and turns that of an enhancement into a factor."""
    table = jnp.array(np.stack([levels[name] for name in NAMES]), jnp.float32)
    is_signed = jnp.array([name in SIGNED for name in NAMES])[chosen]
    is_factor = jnp.array([name in ENHANCEMENTS for name in NAMES])[chosen]
    negative = is_signed & jax.random.bernoulli(key, 0.5, chosen.shape)
    value = table[chosen, level]
    value = jnp.where(negative, -value, value)
    return jnp.where(is_factor, 1 + value, value)


def _levels(bins: int, image_size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Returns the magnitude [bins] of each operation by strength, for AutoAugment (10) and RandAugment (31)."""
    height, width = image_size
    return _table(
        bins,
        shear=0.3,
        shift_x=RELATIVE_SHIFT * width,
        shift_y=RELATIVE_SHIFT * height,
        degrees=30.0,
        enhancement=0.9,
        bits_dropped=4,
    )


def _wide_levels() -> dict[str, np.ndarray]:
    return _table(
        COMMON_BINS,
        shear=0.99,
        shift_x=TRIVIAL_SHIFT,
        shift_y=TRIVIAL_SHIFT,
        degrees=135.0,
        enhancement=0.99,
        bits_dropped=6,
    )


def _table(
    bins: int, *, shear: float, shift_x: float, shift_y: float, degrees: float, enhancement: float, bits_dropped: int
) -> dict[str, np.ndarray]:
    up_to = lambda largest: np.linspace(0, largest, bins)  # noqa: E731
    nothing = np.zeros(bins)
    return {
        "identity": nothing,
        "shear_x": up_to(shear),
        "shear_y": up_to(shear),
        "translate_x": up_to(shift_x),
        "translate_y": up_to(shift_y),
        "rotate": up_to(degrees),
        **dict.fromkeys(ENHANCEMENTS, up_to(enhancement)),
        "posterize": 8 - np.round(up_to(bits_dropped)),
        "solarize": up_to(255.0)[::-1],
        "auto_contrast": nothing,
        "equalize": nothing,
        "invert": nothing,
    }
