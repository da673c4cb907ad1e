"""What training and evaluation ask of a split: `Source`, and what steps read from it one after the other: `Feeds`."""

from collections.abc import Iterator
from typing import Any, Protocol

import jax

from effnet_jax.data.device import pipeline

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
