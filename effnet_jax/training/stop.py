"""Stopping on request: SIGTERM and Ctrl-C let the current step finish."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Context in which SIGTERM and SIGINT set `requested` instead of ending the process.

    A second SIGINT interrupts at once, as usual. A context around this one is asked to stop as well: a study that runs
    one training after the other must not take a request for that of the run at hand alone. Nor is one lost that came
    before this context was entered, while a run was being set up. Outside the main thread, where Python allows no
    signal handlers, nothing is installed.

    Of several processes any can be asked, and all stop at the same turn. JAX takes SIGTERM then and spreads the word
    in the background, and SIGINT is passed on to it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._turn = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        several = jax.process_count() > 1
        for number in (signal.SIGINT,) if several else (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break
            around = _request_of(self._previous[number])
            self.requested |= around is not None and around.requested
        return self

    def reached(self) -> bool:
        """Whether to stop now; asked in each turn of a loop, as often by each process."""
        if jax.process_count() == 1:
            return self.requested
        self._turn += 1
        return multihost_utils.reached_preemption_sync_point(self._turn)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
            if self.requested and (around := _request_of(handler)):
                around.requested = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)


def _request_of(handler: Any) -> StopRequest | None:
    """Returns the context that has installed a signal handler, if one has."""
    around = getattr(handler, "__self__", None)
    return around if isinstance(around, StopRequest) else None
