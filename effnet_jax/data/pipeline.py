"""Batches from a data set that lives on the device.

Nothing here has state: the batch of a step follows from the seed and the step alone, so resuming a run
at a step resumes its data, and the host has nothing to do between steps.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from effnet_jax.data.augment.augmentation import Augmentation
from effnet_jax.data.preprocess import Preprocess
from effnet_jax.data.splits import Split
from effnet_jax.sharding import batch_sharded, put_replicated

Batch = dict[str, jax.Array]


class ResidentSplit(NamedTuple):
    """A split on the device: images uint8 [N, H, W, 3], labels int32 [N], a whole copy on each device."""

    images: jax.Array
    labels: jax.Array

    @property
    def count(self) -> int:
        return self.labels.shape[0]


def to_device(split: Split, mesh: Mesh) -> ResidentSplit:
    """Copies a split to every device of the mesh."""
    return ResidentSplit(*put_replicated((split.images, split.labels), mesh))


@functools.partial(jax.jit, static_argnames="count")
def epoch_order(key: jax.Array, epoch: jax.Array, count: int) -> jax.Array:
    """The order int32 [count] in which an epoch visits the examples."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), count)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Draws training batches and walks evaluation batches; pure functions for use inside `jax.jit`.

    Attributes:
      mesh: devices over which each batch is split.
      preprocess: what turns stored images into model inputs.
      augment: what happens to training images; None where there are none.
      num_classes: width of mixed labels.
    """

    mesh: Mesh
    preprocess: Preprocess
    augment: Augmentation | None
    num_classes: int

    def train_batch(self, split: ResidentSplit, indices: jax.Array, key: jax.Array, mixed: jax.Array) -> Batch:
        """Returns the augmented examples at `indices` [B] as {"image", "label"}, split over the devices.

        Labels are int32 [B], or float32 [B, classes] where images are mixed with others, which `mixed` (bool [])
        can hold off.
        """
        indices = self._shard(indices)
        images = self._shard(self.augment.gather(key, split.images, indices))
        change_key, mix_key = jax.random.split(jax.random.fold_in(key, 1))
        images = self.augment.change(change_key, images, self.preprocess.mean_colour(), self.mesh)
        images, labels = self.preprocess(images), split.labels[indices]
        if not self.augment.mix.is_on:
            return {"image": images, "label": labels}
        labels = jax.nn.one_hot(labels, self.num_classes)
        images, labels = self.augment.mix(mix_key, images, labels, mixed)
        return {"image": self._shard(images), "label": self._shard(labels)}

    def eval_batch(self, split: ResidentSplit, start: jax.Array, batch_size: int) -> Batch:
        """Returns examples [start, start + B) as {"image", "label", "mask"}; past the end mask is False."""
        indices = self._shard(start + jnp.arange(batch_size))
        images = split.images.at[indices].get(mode="clip")
        labels = split.labels.at[indices].get(mode="clip")
        return {"image": self.preprocess(images), "label": labels, "mask": indices < split.count}

    def _shard(self, array: jax.Array) -> jax.Array:
        return jax.lax.with_sharding_constraint(array, batch_sharded(self.mesh))
