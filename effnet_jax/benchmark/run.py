"""From the cases and sections asked for to all figures, as plain data."""

from collections.abc import Callable, Sequence
from typing import Any

from effnet_jax.benchmark import cam, sections
from effnet_jax.benchmark.case import Case

LOOP_TURNS = 7


def run(
    cases: Sequence[Case],
    peers: Sequence[str],
    wanted: Sequence[str],
    *,
    rounds: int,
    round_seconds: float,
    trace_folder: str | None,
    photographs: str | None,
    footprints: Sequence[Case],
    say: sections.Say,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Runs the sections in `wanted` on `cases`.

    Args:
      cases: workloads of "steps". The other sections take the first and, where size matters, the last
        training case; "cam" has its own.
      peers: what runs beside us in "steps".
      wanted: names of sections.
      rounds, round_seconds: see `rounds.measure`.
      trace_folder: where "operations" keeps its traces; None throws them away.
      photographs: folder of images for "data", which cuts them to the largest resolution of training; None for
        those that scikit-learn has.
      footprints: workloads of "footprint".
      say: receives lines of progress.
      keep: receives what is known so far after each measurement: a benchmark takes long, and may be killed.
    """
    training = [case for case in cases if case.mode == "train"] or list(cases)
    ends = list(dict.fromkeys((training[0], training[-1])))
    peaks = sections.machine(cases[0].dtype, say)
    peaks["versions"] |= sections.peer_versions(peers)
    data: dict[str, Any] = {"machine": peaks, "dtype": cases[0].dtype}
    side = max(case.resolution for case in training)
    if "steps" in wanted:
        data["results"] = []
        for case in cases:
            data["results"] += sections.steps(case, peers, rounds, round_seconds, peaks, say)
            keep(data)
    others: dict[str, Callable[[], Any]] = {
        "startup": lambda: sections.startup(ends[0], say),
        "memory": lambda: sections.memory(ends[-1], say),
        "footprint": lambda: [sections.footprint(case, say) for case in footprints],
        "loop": lambda: sections.loop(ends[0], LOOP_TURNS, say),
        "augment": lambda: sections.augment(ends[0], say),
        "data": lambda: sections.data(photographs, side, rounds, round_seconds, say),
        "operations": lambda: [sections.operations(case, trace_folder, say) for case in ends],
        "cam": lambda: cam.cam(cam.peer_is_installed(), rounds, round_seconds, say),
        "depthwise": lambda: [sections.depthwise(case, say) for case in ends],
    }
    for section, measure in others.items():
        if section in wanted:
            data[section] = measure()
            keep(data)
    return data
