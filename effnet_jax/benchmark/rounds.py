"""Implementations side by side, a round of each in turn, so that a noisy moment hits all of them."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from effnet_jax.benchmark.case import OURS, Case
from effnet_jax.benchmark.worker import Worker, WorkerFailedError


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured of one implementation on one case.

    Attributes:
      implementation: its name.
      case: the workload.
      rates: images/s of each round.
      compile_seconds: None where nothing is compiled.
      peak_memory: bytes of the process, or of the device where that is not the host.
      bytes_per_step: what the operations of a step read and write, or None.
      failure: why there are no figures; empty otherwise.
    """

    implementation: str
    case: Case
    rates: tuple[float, ...] = ()
    compile_seconds: float | None = None
    peak_memory: int | None = None
    bytes_per_step: float | None = None
    failure: str = ""

    @property
    def images_per_second(self) -> float:
        return statistics.median(self.rates)

    @property
    def seconds_per_step(self) -> float:
        return self.case.batch_size / self.images_per_second

    def ratio(self, other: "Result") -> float:
        """How many times faster this one was: the median over the ratios round by round."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True))


def measure(
    case: Case, implementations: Sequence[str], rounds: int, round_seconds: float, report: Callable[[str], None]
) -> list[Result]:
    """Runs a case on every implementation.

    All of them are built first and then take turns; each sleeps while another runs. One that fails is
    reported with its reason and left out of the rounds.

    Args:
      case: the workload.
      implementations: names; ours first by convention.
      rounds: turns each one takes.
      round_seconds: about how long a turn takes; at least one step.
      report: receives a line of progress now and then.
    """
    workers: dict[str, Worker] = {}
    failures: dict[str, str] = {}
    rates: dict[str, list[float]] = {}
    try:
        for name in implementations:
            report(f"{case}: building {name}")
            try:
                workers[name] = Worker(name, case)
                rates[name] = []
            except WorkerFailedError as error:
                failures[name] = str(error)
        for turn in range(rounds):
            report(f"{case}: round {turn + 1} of {rounds}")
            for name, worker in workers.items():
                steps = max(1, round(round_seconds / worker.step_seconds))
                rates[name].append(steps * case.batch_size / worker.run(steps))
        return [
            Result(name, case, failure=failures[name])
            if name in failures
            else Result(
                name,
                case,
                tuple(rates[name]),
                workers[name].compile_seconds,
                workers[name].finish(),
                workers[name].bytes_per_step,
            )
            for name in implementations
        ]
    finally:
        for worker in workers.values():
            worker.stop()


def ours(results: Sequence[Result]) -> Result:
    """Returns our own result."""
    return next(result for result in results if result.implementation == OURS)
