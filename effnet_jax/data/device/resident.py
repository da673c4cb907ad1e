"""Splits that fit on the devices: copied there once, whole."""

from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from effnet_jax.data.device import pipeline
from effnet_jax.data.device.feeds import State
from effnet_jax.data.sets.splits import Split


class ResidentSource:
    """A split that lives on the devices; see `feeds.Source`."""

    def __init__(self, split: Split, mesh: Mesh):
        self._split = pipeline.to_device(split, mesh)
        self.count = self._split.count

    def feeds(self, key: jax.Array, batch_size: int, step: int, state: State | None) -> "ResidentFeeds":
        """See `feeds.Source`; the place in the data follows from the step number."""
        return ResidentFeeds(self._split, key, self.count // batch_size)

    def windows(self, batch_size: int, limit: int | None = None) -> Iterator[pipeline.ResidentWindow]:
        """See `feeds.Source`."""
        for start in range(0, self.count, batch_size)[:limit]:
            yield pipeline.ResidentWindow(self._split, start)


class ResidentFeeds:
    """The split, with the order of each epoch in turn; see `feeds.Feeds`."""

    def __init__(self, split: pipeline.ResidentSplit, key: jax.Array, steps_per_epoch: int):
        self._split, self._key, self._steps_per_epoch = split, key, steps_per_epoch
        self._epoch, self._feed = -1, None

    def at(self, step: int) -> pipeline.ResidentFeed:
        """See `feeds.Feeds`."""
        epoch = step // self._steps_per_epoch
        if epoch != self._epoch:
            order = pipeline.epoch_order(self._key, epoch, self._split.count)
            self._epoch, self._feed = epoch, pipeline.ResidentFeed(self._split, order)
        return self._feed

    def state(self) -> State:
        """See `feeds.Feeds`; there is none but the step number."""
        return {}

    def close(self) -> None:
        """See `feeds.Feeds`."""
