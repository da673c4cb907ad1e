"""The grid over the compound coefficients (paper section 3.3), in pure Python (no JAX)."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import ml_collections

from effnet_jax.architecture import catalog
from effnet_jax.errors import UserError

CONSTRAINTS = ("formula", "macs")
PAPER = (1.2, 1.1, 1.15)  # alpha, beta and gamma as the paper found them
MAX_STEPS = 400  # an axis of more would only come from a mistyped step


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Coefficients of depth, width and resolution, and what a model scaled by them really costs.

    Attributes:
      alpha, beta, gamma: each at least 1.
      product: alpha * beta^2 * gamma^2, the formula's estimate of the factor on the MACs.
      macs_ratio: the real one, at the same `phi`.
      depth_multiplier, width_multiplier, resolution: as the configs of the candidate's runs have them.
      macs, parameters: of the scaled model.
    """

    alpha: float
    beta: float
    gamma: float
    product: float
    macs_ratio: float
    depth_multiplier: float
    width_multiplier: float
    resolution: int
    macs: int
    parameters: int

    @property
    def coefficients(self) -> tuple[float, float, float]:
        return self.alpha, self.beta, self.gamma

    @property
    def name(self) -> str:
        return f"a{self.alpha:g}_b{self.beta:g}_g{self.gamma:g}"


def candidates(search: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> list[Candidate]:
    """Lists `search.points`, or the grid points that meet the constraint in the order of their coefficients.

    Each of the points given one by one must meet the constraint.

    * "formula": |alpha beta^2 gamma^2 - target| <= tolerance, the paper's.
    * "macs": the same of (scaled MACs / baseline's MACs)^(1/phi), since rounding distorts the formula.

    Args:
      search: `search` of configs/grid_search.py.
      train: the config of the baseline's run, which the coefficients scale.

    Raises:
      UserError: impossible options, no grid point meets the constraint, or a given one does not.
    """
    _check(search)
    baseline = _cost(train, (1.0, 1.0, 1.0), search.phi)
    if search.points:
        return _given(search, train, baseline)
    met = [
        candidate
        for point in _points(search, train, baseline)
        if _meets(candidate := _candidate(train, point, search.phi, baseline), search)
    ]
    if not met:
        raise UserError(
            f"no grid point of step {search.step:g} meets the constraint {search.constraint!r} of "
            f"{search.target:g} within {search.tolerance:g}; raise config.search.tolerance or lower "
            "config.search.step"
        )
    return met


def _given(search, train, baseline: tuple[int, int]) -> list[Candidate]:
    found = [_candidate(train, tuple(map(float, point)), search.phi, baseline) for point in search.points]
    for candidate in found:
        if not _meets(candidate, search):
            raise UserError(
                f"config.search.points: {candidate.coefficients} gives {_constrained(candidate, search):.3f} where "
                f"the constraint {search.constraint!r} asks for {search.target:g} within {search.tolerance:g}"
            )
    return found


def scaled(train: ml_collections.ConfigDict, candidate: Candidate) -> ml_collections.ConfigDict:
    """Returns a copy of the baseline's config for a run of the candidate."""
    config = train.copy_and_resolve_references()
    config.model.depth_multiplier = candidate.depth_multiplier
    config.model.width_multiplier = candidate.width_multiplier
    config.dataset.resolution = candidate.resolution
    return config


def as_table(found: list[Candidate]) -> str:
    """Returns the candidates as text; the paper's choice is marked."""
    lines = ["alpha  beta  gamma  product  resolution     M MACs  x MACs  M parameters"]
    for c in found:
        mark = "  (the paper's)" if c.coefficients == PAPER else ""
        lines.append(
            f"{c.alpha:5.2f} {c.beta:5.2f}  {c.gamma:5.2f}  {c.product:7.4f}  {c.resolution:7d} px  {c.macs / 1e6:9.2f}"
            f"  {c.macs_ratio:6.3f}  {c.parameters / 1e6:12.3f}{mark}"
        )
    return "\n".join(lines)


def as_json(found: list[Candidate]) -> list[dict[str, Any]]:
    """Returns the candidates as JSON values."""
    return [dataclasses.asdict(candidate) for candidate in found]


def _check(search: ml_collections.ConfigDict) -> None:
    if search.constraint not in CONSTRAINTS:
        raise UserError(f"config.search.constraint is one of {', '.join(CONSTRAINTS)}, not {search.constraint!r}")
    for key in ("step", "phi"):
        if search[key] <= 0:
            raise UserError(f"config.search.{key} must be positive, got {search[key]}")
    if search.tolerance < 0 or search.target < 1:
        raise UserError(
            "config.search.tolerance must not be negative and target at least 1, "
            f"got {search.tolerance} and {search.target}"
        )
    if min(search.minimum) < 1 or len(search.minimum) != 3:
        raise UserError(
            f"config.search.minimum are three coefficients, each at least 1 (a network is scaled up), "
            f"got {tuple(search.minimum)}"
        )
    if (search.target + search.tolerance - 1) / search.step > MAX_STEPS:
        raise UserError(f"config.search.step of {search.step:g} makes a grid too fine to search; raise it")


def _points(search, train, baseline) -> Iterator[tuple[float, float, float]]:
    """Yields the points at which the constraint's upper bound holds; it grows along each axis."""
    most = search.target + search.tolerance

    def within(*point: float) -> bool:
        if search.constraint == "formula":
            return _product(point) <= most + _ROUNDING
        return _ratio(train, point, search.phi, baseline) <= most

    for alpha in itertools.takewhile(lambda a: within(a, *search.minimum[1:]), _axis(search, 0)):
        for beta in itertools.takewhile(lambda b: within(alpha, b, search.minimum[2]), _axis(search, 1)):  # noqa: B023
            for gamma in itertools.takewhile(lambda g: within(alpha, beta, g), _axis(search, 2)):  # noqa: B023
                yield alpha, beta, gamma


def _axis(search: ml_collections.ConfigDict, axis: int) -> Iterator[float]:
    """Multiples of the step counted from 1, so that 1.15 is 1.15 and not 1.1500000000000001."""
    first = search.minimum[axis]
    for index in range(MAX_STEPS):
        value = round(1 + index * search.step, 10)
        if value >= first:
            yield value


_ROUNDING = 1e-9  # of a product such as 1.0 * 1.0 * 1.4491 ** 2


def _product(point: tuple[float, float, float]) -> float:
    alpha, beta, gamma = point
    return alpha * beta**2 * gamma**2


def _meets(candidate: Candidate, search: ml_collections.ConfigDict) -> bool:
    return abs(_constrained(candidate, search) - search.target) <= search.tolerance + _ROUNDING


def _constrained(candidate: Candidate, search: ml_collections.ConfigDict) -> float:
    """What the constraint holds to the target."""
    return candidate.product if search.constraint == "formula" else candidate.macs_ratio ** (1 / search.phi)


def _candidate(train, point, phi: float, baseline: tuple[int, int]) -> Candidate:
    macs, parameters = _cost(train, point, phi)
    depth, width, resolution = _scaling(train, point, phi)
    return Candidate(*point, _product(point), macs / baseline[0], depth, width, resolution, macs, parameters)


def _ratio(train, point, phi: float, baseline: tuple[int, int]) -> float:
    return (_cost(train, point, phi)[0] / baseline[0]) ** (1 / phi)


def _scaling(train, point, phi: float) -> tuple[float, float, int]:
    """Depth and width multipliers and the resolution in pixels at `phi`."""
    alpha, beta, gamma = point
    return (
        round(train.model.depth_multiplier * alpha**phi, 10),
        round(train.model.width_multiplier * beta**phi, 10),
        round(train.dataset.resolution * gamma**phi),
    )


def _cost(train, point, phi: float) -> tuple[int, int]:
    """MACs and parameters of the model that `point` gives."""
    depth, width, resolution = _scaling(train, point, phi)
    model = train.model
    arch = catalog.architecture(model.name, width, depth, model.stem_stride, model.stage_strides)
    counts = arch.count(resolution, model.num_classes)
    return counts.macs, counts.parameters
