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
    cases: Sequence[Case],
    implementations: Sequence[str],
    rounds: int,
    round_seconds: float,
    report: Callable[[str], None],
    build_at_once: bool = False,
) -> list[Result]:
    """Runs every implementation on every case.

    All of them are built first. Then those of one case take turns, while all others sleep. One that fails is
    reported with its reason and left out of the rounds.

    Args:
      cases: the workloads; they are in memory together.
      implementations: names; ours first by convention.
      rounds: turns each one takes.
      round_seconds: about how long a turn takes; at least one step.
      report: receives a line of progress now and then.
      build_at_once: build side by side, for an accelerator, where a machine is lent for minutes: compiling needs the
        host alone, but the seconds that it takes are those of a busy host.

    Returns:
      One result for each case and implementation, case by case.
    """
    entrants = [(case, name) for case in cases for name in implementations]
    workers: dict[tuple[Case, str], Worker] = {}
    failures: dict[tuple[Case, str], str] = {}
    try:
        if build_at_once:
            report(f"building {len(entrants)} steps side by side")
            workers = {entrant: Worker(entrant[1], entrant[0]) for entrant in entrants}
        for entrant in entrants:
            case, name = entrant
            report(f"{case}: building {name}")
            try:
                if not build_at_once:
                    workers[entrant] = Worker(name, case)
                workers[entrant].ready()
            except WorkerFailedError as error:
                failures[entrant] = str(error)
                report(f"{case}: {name} failed: {error}")
        rates = {entrant: [] for entrant in entrants}
        for case in cases:
            alive = [entrant for entrant in entrants if entrant[0] == case and entrant not in failures]
            steps = {entrant: _steps_a_round(workers[entrant], round_seconds, build_at_once) for entrant in alive}
            for turn in range(rounds):
                report(f"{case}: round {turn + 1} of {rounds}")
                for entrant in alive:
                    rates[entrant].append(steps[entrant] * case.batch_size / workers[entrant].run(steps[entrant]))
        return [
            Result(name, case, failure=failures[case, name])
            if (case, name) in failures
            else Result(
                name,
                case,
                tuple(rates[case, name]),
                workers[case, name].compile_seconds,
                workers[case, name].finish(),
                workers[case, name].bytes_per_step,
            )
            for case, name in entrants
        ]
    finally:
        for worker in workers.values():
            worker.stop()


def _steps_a_round(worker: Worker, round_seconds: float, again: bool) -> int:
    """How many steps fill a round; `again` times one now, where the worker had to share the device before."""
    seconds = worker.run(3) / 3 if again else worker.step_seconds
    return max(1, round(round_seconds / seconds))


def ours(results: Sequence[Result]) -> Result:
    """Returns our own result."""
    return next(result for result in results if result.implementation == OURS)
