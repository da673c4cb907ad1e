"""Which candidate is best, and which differences are within noise. Pure Python, imports no JAX."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

# Student's t: how many standard errors half a 95 % interval is, by degrees of freedom from 1; a few runs say little
# about their own spread.
_T95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL95 = 1.96  # where the error is that of counting images


@dataclasses.dataclass(frozen=True)
class Ranked:
    """One candidate over its seeds.

    Attributes:
      name: of the candidate.
      rank: 1 for the best; None where a seed is missing.
      accuracies: validation accuracy by seed, None where that run did not finish.
      mean: over the seeds; None where a seed is missing.
      standard_error: of the mean; from the seeds or, where there is one, from the number of images.
      behind: mean difference to the best, over the same seeds.
      behind_error: standard error of that difference; 0 for the best itself.
      within_noise: whether zero is inside the 95 % confidence interval of that difference.
    """

    name: str
    rank: int | None
    accuracies: tuple[float | None, ...]
    mean: float | None = None
    standard_error: float | None = None
    behind: float | None = None
    behind_error: float | None = None
    within_noise: bool = False


def rank(accuracies: dict[str, Sequence[float | None]], validation_count: int) -> list[Ranked]:
    """Ranks candidates by mean accuracy.

    The runs of one seed share data order and initialisation, so differences are taken seed by seed: what a seed does to
    all candidates alike cancels. What is left beside the means of candidates and seeds is noise, whose size all
    candidates tell together (analysis of variance in randomised blocks): two seeds of one would tell next to nothing.
    With one seed the error is that of counting hits among the images.

    Args:
      accuracies: name -> validation accuracy by seed, the same seeds for all; None where a run did not finish.
      validation_count: images behind each accuracy.

    Returns:
      The best first; candidates that lack a seed last, in the given order.
    """
    whole = {name: tuple(values) for name, values in accuracies.items() if values and None not in values}
    order = sorted(whole, key=lambda name: (-statistics.fmean(whole[name]), name))
    blocks_error, half_interval = _blocks(list(whole.values()))
    ranked = []
    for number, name in enumerate(order, start=1):
        values, best = whole[name], whole[order[0]]
        mean, error = estimate(values, validation_count)
        behind = statistics.fmean(best) - mean
        if number == 1:
            behind_error = 0.0
        elif len(values) > 1:
            behind_error = blocks_error
        else:
            behind_error = math.hypot(error, _counting_error(best[0], validation_count))
        ranked.append(
            Ranked(name, number, values, mean, error, behind, behind_error, behind <= half_interval * behind_error)
        )
    unfinished = [Ranked(name, None, tuple(values)) for name, values in accuracies.items() if name not in whole]
    return ranked + unfinished


def estimate(values: Sequence[float], count: int) -> tuple[float, float]:
    """Returns the mean and its standard error: over the seeds or, with one, of counting hits among `count` images."""
    error = _standard_error(values) if len(values) > 1 else _counting_error(values[0], count)
    return statistics.fmean(values), error


def _blocks(table: list[tuple[float, ...]]) -> tuple[float, float]:
    """Returns the standard error of a difference of two candidates' means, and how many of it half an interval is.

    Args:
      table: accuracy by candidate and seed.
    """
    if len(table) < 2 or len(table[0]) < 2:
        return 0.0, _NORMAL95
    by_seed = [statistics.fmean(column) for column in zip(*table)]
    grand = statistics.fmean(by_seed)
    residuals = [
        value - statistics.fmean(row) - mean + grand for row in table for value, mean in zip(row, by_seed, strict=True)
    ]
    freedom = (len(table) - 1) * (len(by_seed) - 1)
    variance = math.fsum(residual**2 for residual in residuals) / freedom
    return math.sqrt(2 * variance / len(by_seed)), _T95[min(freedom, len(_T95)) - 1]


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def _counting_error(accuracy: float, count: int) -> float:
    """Of a share of hits among `count` images."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
