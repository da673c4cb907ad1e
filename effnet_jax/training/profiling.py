"""A trace of some steps, for finding out where the time of a step goes."""

import pathlib

import jax

FOLDER = "profile"


class StepTrace:
    """Traces the updates from one step to another.

    Args:
      steps: (first, last): the trace begins when `first` updates are done and ends when `last` are; None traces
        nothing.
      workdir: of the run; the trace goes into its folder `profile`.
    """

    def __init__(self, steps: tuple[int, int] | None, workdir: pathlib.Path):
        self._steps, self._folder, self._on = steps, workdir / FOLDER, False

    def before(self, step: int) -> None:
        """To be called before the updates that begin at `step`."""
        if self._steps is not None and not self._on and self._steps[0] <= step < self._steps[1]:
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._on = True

    def after(self, step: int, token: jax.Array) -> str | None:
        """To be called after them; returns a line once the trace is written.

        Args:
          step: updates done.
          token: a small result of theirs.
        """
        if not self._on or step < self._steps[1]:
            return None
        token.block_until_ready()
        self.close()
        self._steps = None
        (newest,) = sorted(self._folder.rglob("perfetto_trace.json.gz"))[-1:]
        return f"trace     open {newest} at https://ui.perfetto.dev"

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._on:
            self._on = False
            jax.profiler.stop_trace()
