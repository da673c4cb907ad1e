"""All augmentation of a run, from config.augment."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh, PartitionSpec

from effnet_jax.data.device.augment import colour, erase, policies
from effnet_jax.data.device.augment.crop import crop_and_flip
from effnet_jax.data.device.augment.mix import Mix
from effnet_jax.data.device.augment.operations import apply_each


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to training images: crop and flip, colour jitter, policy, cutout, erasing; after normalisation, mix.

    Attributes:
      crop_padding, flip: see `crop_and_flip`.
      brightness, contrast, saturation: factors of 1 - x to 1 + x, in this order.
      hue: turn of -x to x of the colour circle, after these.
      policy: None for none.
      cutout_size: pixels; 0 is off.
      erasing_probability: 0 is off.
      mix: mixup and CutMix.
    """

    crop_padding: int
    flip: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float
    policy: policies.Policy | None
    cutout_size: int
    erasing_probability: float
    mix: Mix

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> "Augmentation":
        """Builds it from config.augment.

        Raises:
          UserError: There is no such policy, or an impossible strength.
        """
        return cls(
            crop_padding=config.crop_padding,
            flip=config.flip,
            brightness=config.brightness,
            contrast=config.contrast,
            saturation=config.saturation,
            hue=config.hue,
            policy=policies.make_policy(config.policy, config.randaugment_layers, config.randaugment_strength),
            cutout_size=config.cutout_size,
            erasing_probability=config.erasing_probability,
            mix=Mix(config.mixup_alpha, config.cutmix_alpha, config.mix_probability, config.cutmix_probability),
        )

    def gather(self, key: jax.Array, stored: jax.Array, indices: jax.Array) -> jax.Array:
        """Reads the images at `indices` [N] of `stored` uint8 [M, H, W, 3], cropped and flipped."""
        height, width = stored.shape[1:3]
        rows, columns = crop_and_flip(key, indices.shape[0], height, width, padding=self.crop_padding, flip=self.flip)
        return stored[indices[:, None, None], rows[:, :, None], columns[:, None, :]]

    def shift(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Crops and flips images uint8 [N, H, W, 3] where they are, so that they stay split over the devices."""
        count, height, width, _ = images.shape
        rows, columns = crop_and_flip(key, count, height, width, padding=self.crop_padding, flip=self.flip)
        return jax.vmap(lambda image, rows, columns: image[rows[:, None], columns])(images, rows, columns)

    def change(self, key: jax.Array, images: jax.Array, fill: jax.Array, mesh: Mesh) -> jax.Array:
        """Changes images uint8 [N, H, W, 3], which are split over the devices of `mesh`; erases to `fill` uint8 [3]."""
        jitter_key, policy_key, cutout_key, erasing_key = jax.random.split(key, 4)
        count, size = images.shape[0], images.shape[1:3]
        images = self._jitter(jitter_key, images)
        if self.policy is not None:
            chosen, magnitudes = self.policy.draw(policy_key, count, size)
            split = PartitionSpec("data")
            each = jax.shard_map(apply_each, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
            images = each(images, chosen, magnitudes)
        erased = []
        if self.cutout_size:
            erased.append(erase.cutout(cutout_key, count, size, self.cutout_size))
        if self.erasing_probability:
            erased.append(erase.random_erasing(erasing_key, count, size, self.erasing_probability))
        for mask in erased:
            images = jnp.where(mask[..., None], fill, images)
        return images

    def _jitter(self, key: jax.Array, images: jax.Array) -> jax.Array:
        jitters = (
            (colour.brightness, *_about_one(self.brightness)),
            (colour.contrast, *_about_one(self.contrast)),
            (colour.color, *_about_one(self.saturation)),
            (colour.hue, -self.hue, self.hue),
        )
        for (operation, lowest, highest), part_key in zip(jitters, jax.random.split(key, len(jitters))):
            if lowest < highest:
                drawn = jax.random.uniform(part_key, (images.shape[0],), minval=lowest, maxval=highest)
                images = jax.vmap(operation)(images, drawn)
        return images


def _about_one(strength: float) -> tuple[float, float]:
    return max(0.0, 1 - strength), 1 + strength
