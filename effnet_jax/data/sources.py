"""The splits of a run as training and evaluation take them, on whichever side of the bus the images live."""

from collections.abc import Iterator
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from effnet_jax.data import pipeline
from effnet_jax.data.splits import Split

State = dict[str, Any]


class Feeds(Protocol):
    """What the steps of a run read, one after the other."""

    def at(self, step: int) -> pipeline.Feed:
        """Returns what step `step` reads; asked for in order."""

    def state(self) -> State:
        """Returns where this stands, as JSON values: what a checkpoint keeps of it."""

    def close(self) -> None:
        """Ends what runs in the background."""


class Source(Protocol):
    """A split that can be trained and evaluated on.

    Attributes:
      count: number of examples.
    """

    count: int

    def feeds(self, key: jax.Array, batch_size: int, step: int, state: State | None) -> Feeds:
        """Opens the examples in a new order for each epoch, from `step` on.

        Args:
          key: of the orders.
          batch_size: global; an epoch drops the remainder.
          step: updates done.
          state: what a checkpoint of that step kept; None at the start of a run.

        Raises:
          UserError: the data is no longer what it was.
        """

    def windows(self, batch_size: int, limit: int | None = None) -> Iterator[pipeline.Window]:
        """Walks over all examples once, `batch_size` at a time, or over the first `limit` batches."""


def open_split(split: Any, mesh: Mesh) -> Source:
    """Opens a `Split`, which is copied to the devices, or an `EncodedSplit`, which is streamed to them."""
    if isinstance(split, Split):
        return ResidentSource(split, mesh)
    from effnet_jax.data.streaming import StreamedSource  # needs Grain

    return StreamedSource(split, mesh)


class ResidentSource:
    """A split that lives on the devices; see `Source`."""

    def __init__(self, split: Split, mesh: Mesh):
        self._split = pipeline.to_device(split, mesh)
        self.count = self._split.count

    def feeds(self, key: jax.Array, batch_size: int, step: int, state: State | None) -> "ResidentFeeds":
        """See `Source`; the place in the data follows from the step number."""
        return ResidentFeeds(self._split, key, self.count // batch_size)

    def windows(self, batch_size: int, limit: int | None = None) -> Iterator[pipeline.ResidentWindow]:
        """See `Source`."""
        for start in range(0, self.count, batch_size)[:limit]:
            yield pipeline.ResidentWindow(self._split, start)


class ResidentFeeds:
    """The split, with the order of each epoch in turn; see `Feeds`."""

    def __init__(self, split: pipeline.ResidentSplit, key: jax.Array, steps_per_epoch: int):
        self._split, self._key, self._steps_per_epoch = split, key, steps_per_epoch
        self._epoch, self._feed = -1, None

    def at(self, step: int) -> pipeline.ResidentFeed:
        """See `Feeds`."""
        epoch = step // self._steps_per_epoch
        if epoch != self._epoch:
            order = pipeline.epoch_order(self._key, epoch, self._split.count)
            self._epoch, self._feed = epoch, pipeline.ResidentFeed(self._split, order)
        return self._feed

    def state(self) -> State:
        """See `Feeds`; there is none but the step number."""
        return {}

    def close(self) -> None:
        """See `Feeds`."""
