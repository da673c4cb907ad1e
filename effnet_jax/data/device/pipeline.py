"""From images on the device to the batches of steps: pure functions for use inside `jax.jit`.

Nothing here has state: what is drawn in a step follows from the seed and the step alone. Where images come from, the
whole split on the device or one batch from the host, is known to the two kinds of feed and to nothing after them.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.sets.splits import Split
from effnet_jax.process.sharding import batch_sharded, put_replicated

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


class ResidentFeed(NamedTuple):
    """What the steps of an epoch read: a split on the device, and the epoch's order int32 [N] of its examples."""

    split: ResidentSplit
    order: jax.Array

    def draw(self, pipe: "Pipeline", key: jax.Array, step: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """Returns shifted images uint8 [B, H, W, 3] and labels int32 [B] of step `step` of the run."""
        position = step % (self.order.shape[0] // batch_size) * batch_size
        indices = pipe.shard(jax.lax.dynamic_slice(self.order, (position,), (batch_size,)))
        return pipe.shard(pipe.augment.gather(key, self.split.images, indices)), self.split.labels[indices]


class ResidentWindow(NamedTuple):
    """What an evaluation step reads: a split on the device, and the number of the first example."""

    split: ResidentSplit
    start: int

    def read(self, pipe: "Pipeline", batch_size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns images [B, H, W, 3], labels [B] and mask [B] of the examples; past the end mask is False."""
        indices = pipe.shard(self.start + jnp.arange(batch_size))
        images = self.split.images.at[indices].get(mode="clip")
        labels = self.split.labels.at[indices].get(mode="clip")
        return images, labels, indices < self.split.count


class StreamedBatch(NamedTuple):
    """What a step, of either kind, reads where the host streams: its images, split over the devices.

    Attributes:
      images: uint8 [B, S, S, 3].
      labels: int32 [B].
      mask: bool [B], False for what fills the last batch up.
    """

    images: jax.Array
    labels: jax.Array
    mask: jax.Array

    def draw(self, pipe: "Pipeline", key: jax.Array, step: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
        """See `ResidentFeed`; this is the batch of one step."""
        return pipe.augment.shift(key, self.images), self.labels

    def read(self, pipe: "Pipeline", batch_size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """See `ResidentWindow`."""
        return self


Feed = ResidentFeed | StreamedBatch
Window = ResidentWindow | StreamedBatch


@functools.partial(jax.jit, static_argnames="count")
def epoch_order(key: jax.Array, epoch: jax.Array, count: int) -> jax.Array:
    """The order int32 [count] in which an epoch visits the examples."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), count)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Makes training and evaluation batches of what feeds give.

    Attributes:
      mesh: devices over which each batch is split.
      preprocess: what turns images, cut already, into model inputs.
      augment: what happens to training images; None where there are none.
      num_classes: width of mixed labels.
    """

    mesh: Mesh
    preprocess: Preprocess
    augment: Augmentation | None
    num_classes: int

    def train_batch(self, feed: Feed, step: jax.Array, batch_size: int, key: jax.Array, mixed: jax.Array) -> Batch:
        """Returns the augmented examples of a step as {"image", "label"}, split over the devices.

        Labels are int32 [B], or float32 [B, classes] where images are mixed with others, which `mixed` (bool [])
        can hold off.
        """
        images, labels = feed.draw(self, key, step, batch_size)
        change_key, mix_key = jax.random.split(jax.random.fold_in(key, 1))
        images = self.augment.change(change_key, images, self.preprocess.mean_colour(), self.mesh)
        images = self.preprocess(images)
        if not self.augment.mix.is_on:
            return {"image": images, "label": labels}
        labels = jax.nn.one_hot(labels, self.num_classes)
        images, labels = self.augment.mix(mix_key, images, labels, mixed)
        return {"image": self.shard(images), "label": self.shard(labels)}

    def eval_batch(self, window: Window, batch_size: int) -> Batch:
        """Returns the examples of a window as {"image", "label", "mask"}."""
        images, labels, mask = window.read(self, batch_size)
        return {"image": self.preprocess(images), "label": labels, "mask": mask}

    def shard(self, array: jax.Array) -> jax.Array:
        """Splits the leading axis over the devices."""
        return jax.lax.with_sharding_constraint(array, batch_sharded(self.mesh))
