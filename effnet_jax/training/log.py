"""What a run tells: lines or a progress bar for a person, metrics.jsonl and trackers for programs."""

import collections
import pathlib
import sys
import time
from collections.abc import Callable, Mapping

import jax
import tqdm

from effnet_jax.process import distributed
from effnet_jax.process.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training.metrics import MetricsFile
from effnet_jax.training.trackers import Tracker


class RunLog:
    """What one run prints and writes. Only process 0 does so; in the others every call does nothing."""

    def __init__(
        self,
        workdir: pathlib.Path,
        first_step: int,
        num_train_steps: int,
        open_trackers: Callable[[], list[Tracker]],
    ):
        self._speaks = distributed.is_first()
        self._queued: collections.deque[jax.Array] = collections.deque()
        self._images, self._since = 0, time.perf_counter()
        if not self._speaks:
            return
        self._metrics = MetricsFile(workdir / "metrics.jsonl", first_step)
        self._trackers = open_trackers()
        shown = sys.stderr.isatty() or "ipykernel" in sys.modules  # a notebook shows it, too
        hidden = {} if shown else {"disable": True}  # where nothing is said, TQDM_DISABLE decides
        self._bar = tqdm.tqdm(total=num_train_steps, initial=first_step, unit="step", dynamic_ncols=True, **hidden)

    def say(self, text: str) -> None:
        """Prints a line to stdout, above the progress bar where there is one."""
        if self._speaks:
            tqdm.tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def dispatched(self, steps: int, images: int, token: jax.Array) -> None:
        """Notes that `steps` updates were queued; waits while too many are.

        `token` is a small result of theirs.
        """
        self._queued.append(token)
        if len(self._queued) > MAX_QUEUED_DISPATCHES:
            self._queued.popleft().block_until_ready()
        self._images += images
        if self._speaks:
            self._bar.update(steps)

    def restart_clock(self) -> None:
        """Starts measuring throughput anew: called after work that is not training."""
        self._images, self._since = 0, time.perf_counter()

    def images_per_second(self) -> float:
        """Training throughput since the clock was last started; call it when the device is done."""
        return self._images / max(time.perf_counter() - self._since, 1e-9)

    def record(self, step: int, epoch: float, split: str, figures: Mapping[str, float]) -> None:
        """Writes one event to metrics.jsonl and the trackers and shows it."""
        if not self._speaks:
            return
        self._metrics.append({"step": step, "epoch": round(epoch, 4), "split": split, **figures})
        for tracker in self._trackers:
            tracker.record(step, split, figures)
        shown = "  ".join(f"{key} {_short(key, value)}" for key, value in figures.items() if key != "count")
        self.say(f"step {step:>6}  epoch {epoch:6.2f}  {split:<10}  {shown}")
        if split == "train":
            self._bar.set_postfix_str(f"{figures['images_per_second']:.0f} images/s")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._speaks:
            self._bar.close()
            self._metrics.close()
            for tracker in self._trackers:
                tracker.close()


def _short(key: str, value: float) -> str:
    if key == "images_per_second":
        return f"{value:.0f}"
    return f"{value:.5f}" if key == "learning_rate" else f"{value:.4f}"
