"""Stopping on request: SIGTERM and Ctrl-C let the current step finish."""

import signal
from types import FrameType
from typing import Any


class StopRequest:
    """Context in which SIGTERM and SIGINT set `requested` instead of ending the process.

    A second SIGINT interrupts at once, as usual. A context around this one is asked to stop as well: a study that runs
    one training after the other must not take a request for that of the run at hand alone. Outside the main thread,
    where Python allows no signal handlers, nothing is installed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
            around = getattr(handler, "__self__", None)
            if self.requested and isinstance(around, StopRequest):
                around.requested = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
