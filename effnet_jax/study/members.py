"""The models of a scaling study and what they really cost, in pure Python (no JAX)."""

import dataclasses
from collections.abc import Callable, Iterator

import ml_collections

from effnet_jax.architecture import baselines, catalog
from effnet_jax.errors import UserError, did_you_mean

AXES = ("depth", "width", "resolution")
STEP = 0.005  # between the multipliers that are tried when matching MACs
MOST = 16.0  # of them
LEAST_OF_BASELINES = 0.05  # they are narrowed to the cost of small EfficientNets, which are only scaled up


@dataclasses.dataclass(frozen=True)
class Member:
    """One model of a study.

    Attributes:
      name: unique in the study.
      axis: "baseline", "depth", "width", "resolution" or "compound"; of another model than the study's, its name.
      model: of the catalog.
      depth, width, resolution: multipliers on the baseline's run; depth and width of a ResNet or DenseNet on the
        published ones.
      matched_to: the member whose MACs this one was made to have, or an empty string.
      pixels: side of the input.
      macs, parameters: of the model.
      learning_rate: multiplier on that of the baseline's run.
      seeds: of its runs.
    """

    name: str
    axis: str
    model: str
    depth: float
    width: float
    resolution: float
    matched_to: str
    pixels: int
    macs: int
    parameters: int
    learning_rate: float
    seeds: tuple[int, ...]


def members(study: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> list[Member]:
    """Lists the models of a study, in the order of its config.

    A member with `match` set to an axis is scaled along that axis until its MACs come closest to those of
    `study.match_to`, or to its `factor` times the baseline's: the paper's single-axis models are cheaper than its
    compound one when counted.

    Args:
      study: `study` of configs/study_single_axis.py.
      train: the config of the baseline's run.

    Raises:
      UserError: impossible options, or no multiplier matches the MACs within `study.match_tolerance`.
    """
    if not study.members:
        raise UserError("config.study.members is empty; name at least one model")
    return [member(name, study, train) for name in study.members]


def member(name: str, study: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> Member:
    """Returns one of them; see `members`."""
    if name not in study.members:
        near = did_you_mean(name, study.members)
        raise UserError(f"the study has no member {name!r}{near}; it has {', '.join(study.members)}")
    row = study.members[name]
    given = {axis: float(row[axis]) for axis in AXES}
    if min(*given.values(), row.learning_rate) <= 0:
        raise UserError(f"config.study.members.{name}: multipliers must be positive, got {given}")
    if not 0 <= row.seeds <= len(study.seeds):
        raise UserError(f"config.study.members.{name}.seeds is from 0, all, to {len(study.seeds)}, got {row.seeds}")
    own = {"learning_rate": row.learning_rate, "seeds": tuple(study.seeds)[: row.seeds or None]}
    if not row.match:
        return _made(name, row.model, given, train, **own)
    if row.match not in AXES:
        raise UserError(f"config.study.members.{name}.match is one of {', '.join(AXES)}, not {row.match!r}")
    matched_to, target = _target(row.factor, study, train)
    make = lambda multiplier: _made(  # noqa: E731
        name, row.model, given | {row.match: multiplier}, train, matched_to=matched_to, **own
    )
    least = LEAST_OF_BASELINES if row.model in baselines.NAMES else 1.0
    closest = min(_upwards(make, target, least), key=lambda made: abs(made.macs - target))
    ratio = closest.macs / target
    if abs(ratio - 1) > study.match_tolerance:
        raise UserError(
            f"no {row.match} gives config.study.members.{name} the MACs of {matched_to} within "
            f"{study.match_tolerance:g}; the closest, {getattr(closest, row.match):g}, has {ratio:.3f} of them: change "
            "the baseline's resolution or strides, or raise config.study.match_tolerance"
        )
    return closest


def _target(factor: float, study: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> tuple[str, int]:
    """What those with `match` are matched to, in words, and its MACs."""
    if factor:
        baseline = _made("", train.model.name, dict.fromkeys(AXES, 1.0), train, learning_rate=1.0, seeds=())
        return f"{factor:g} baselines", round(factor * baseline.macs)
    if study.match_to not in study.members or study.members[study.match_to].match:
        raise UserError(f"config.study.match_to={study.match_to!r} must name a member that matches no other itself")
    return study.match_to, member(study.match_to, study, train).macs


def scaled(train: ml_collections.ConfigDict, member: Member) -> ml_collections.ConfigDict:
    """Returns a copy of the baseline's config for a run of the member."""
    config = train.copy_and_resolve_references()
    config.model.name = member.model
    width, depth = _multipliers(train, member.model, member.width, member.depth)
    config.model.width_multiplier, config.model.depth_multiplier = width, depth
    config.model.stage_strides = _stage_strides(train, member.model)
    config.dataset.resolution = member.pixels
    config.optimizer.learning_rate = train.optimizer.learning_rate * member.learning_rate
    return config


def as_table(found: list[Member]) -> str:
    """Returns the members as text."""
    longest = max(20, *(len(member.name) for member in found))
    lines = [f"{'member':<{longest}} model             depth  width  resolution     M MACs  M parameters"]
    for m in found:
        notes = [f"MACs of {m.matched_to}"] * bool(m.matched_to)
        notes += [f"{m.learning_rate:g} times the learning rate"] * (m.learning_rate != 1)
        note = f"  ({', '.join(notes)})" if notes else ""
        lines.append(
            f"{m.name:<{longest}} {m.model:<16} {m.depth:6.2f} {m.width:6.2f}  {m.pixels:7d} px  {m.macs / 1e6:9.2f}"
            f"  {m.parameters / 1e6:12.3f}{note}"
        )
    return "\n".join(lines)


def _upwards(make: Callable[[float], Member], target: int, least: float) -> Iterator[Member]:
    """Yields ever larger members until they cost twice the target."""
    for index in range(round((MOST - least) / STEP)):
        member = make(round(least + index * STEP, 10))
        yield member
        if member.macs > 2 * target:
            return


def _made(
    name: str,
    model: str,
    by: dict[str, float],
    train: ml_collections.ConfigDict,
    *,
    learning_rate: float,
    seeds: tuple[int, ...],
    matched_to: str = "",
) -> Member:
    published = catalog.relative_resolution(model, train.model.name)
    pixels = round(train.dataset.resolution * by["resolution"] * published)
    arch = catalog.architecture(
        model,
        *_multipliers(train, model, by["width"], by["depth"]),
        train.model.stem_stride,
        _stage_strides(train, model),
    )
    counts = arch.count(pixels, train.model.num_classes)
    scaled_axes = [axis for axis in AXES if by[axis] != 1]
    axis = model if model != train.model.name else "baseline"
    if scaled_axes and model not in baselines.NAMES:
        axis = scaled_axes[0] if len(scaled_axes) == 1 else "compound"
    return Member(name, axis, model, **by, matched_to=matched_to, pixels=pixels, macs=counts.macs,
                  parameters=counts.parameters, learning_rate=learning_rate, seeds=seeds)  # fmt: skip


def _multipliers(train: ml_collections.ConfigDict, model: str, width: float, depth: float) -> tuple[float, float]:
    """Width and depth as the run's config has them; those of ResNets and DenseNets are on the published sizes."""
    if model in baselines.NAMES:
        return width, depth
    return round(train.model.width_multiplier * width, 10), round(train.model.depth_multiplier * depth, 10)


def _stage_strides(train: ml_collections.ConfigDict, model: str) -> tuple[int, ...] | None:
    """EfficientNet's; the baselines keep their own."""
    return None if model in baselines.NAMES else train.model.stage_strides
