"""Every operation and policy on the same few images, for the eye."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.device.augment import policies
from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.augment.mix import Mix
from effnet_jax.data.device.augment.operations import NAMES, apply_each
from effnet_jax.data.inspect.contact_sheet import Group
from effnet_jax.process import sharding

NOTHING = Augmentation(
    crop_padding=0,
    flip=False,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    hue=0.0,
    policy=None,
    cutout_size=0,
    erasing_probability=0.0,
    mix=Mix(0.0, 0.0, 1.0, 0.5),
)
LAYERS = 2  # operations of a policy
# Magnitude of each operation on the sheet, in its own unit.
SHOWN = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "rotate": 30.0,
    "brightness": 1.6,
    "color": 0.2,
    "contrast": 1.8,
    "sharpness": 3.0,
    "posterize": 3.0,
    "solarize": 128.0,
}


def groups(images: np.ndarray, seed: int = 0) -> list[Group]:
    """Returns the images [N, H, W, 3] themselves, then under each operation, policy and mix."""
    side = images.shape[1]
    shown = dict.fromkeys(NAMES, 0.0) | SHOWN | {"translate_x": side / 5, "translate_y": side / 5}
    found = [Group("as stored" if name == "identity" else name, _operated(images, name, shown)) for name in NAMES]
    kinds = {
        "crop and flip": dataclasses.replace(NOTHING, crop_padding=max(1, side // 8), flip=True),
        "colour jitter .4": dataclasses.replace(NOTHING, brightness=0.4, contrast=0.4, saturation=0.4),
        "hue .5": dataclasses.replace(NOTHING, hue=0.5),
        "cutout": dataclasses.replace(NOTHING, cutout_size=side // 2),
        "random erasing": dataclasses.replace(NOTHING, erasing_probability=1.0),
        "mixup 1": dataclasses.replace(NOTHING, mix=Mix(1.0, 0.0, 1.0, 0.5)),
        "cutmix 1": dataclasses.replace(NOTHING, mix=Mix(0.0, 1.0, 1.0, 0.5)),
    }
    found += [Group(name, _augmented(images, kind, seed)) for name, kind in kinds.items()]
    return found + [Group(name, _by_policy(images, name, seed)) for name in filter(None, policies.POLICIES)]


def _operated(images: np.ndarray, name: str, magnitudes: dict[str, float]) -> list[np.ndarray]:
    shape = (len(images), 1)
    return _applied(images, jnp.full(shape, NAMES.index(name)), jnp.full(shape, magnitudes[name]))


def _by_policy(images: np.ndarray, name: str, seed: int) -> list[np.ndarray]:
    policy = policies.make_policy(name, LAYERS, randaugment_strength=15)
    return _applied(images, *policy.draw(jax.random.key(seed), len(images), images.shape[1:3]))


def _applied(images: np.ndarray, chosen: jax.Array, magnitudes: jax.Array) -> list[np.ndarray]:
    """Fills up to `LAYERS` operations with the identity, so that all are compiled at once."""
    missing = [(0, 0), (0, LAYERS - chosen.shape[1])]
    return list(np.asarray(jax.jit(apply_each)(images, jnp.pad(chosen, missing), jnp.pad(magnitudes, missing))))


def _augmented(images: np.ndarray, augment: Augmentation, seed: int) -> list[np.ndarray]:
    mesh = sharding.data_mesh(jax.devices()[:1])
    fill = jnp.asarray(images.mean((0, 1, 2)), jnp.uint8)

    def changed(key: jax.Array) -> jax.Array:
        gather_key, change_key, mix_key = jax.random.split(key, 3)
        found = augment.gather(gather_key, jnp.asarray(images), jnp.arange(len(images)))
        found = augment.change(change_key, found, fill, mesh)
        if augment.mix.is_on:
            found, _ = augment.mix(mix_key, found.astype(jnp.float32), jnp.eye(len(images)))
        return jnp.rint(found).astype(jnp.uint8)

    return list(np.asarray(jax.jit(changed)(jax.random.key(seed))))
