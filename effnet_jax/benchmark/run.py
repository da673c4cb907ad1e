"""From the cases and sections asked for to all figures, as plain data."""

from collections.abc import Sequence
from typing import Any

from effnet_jax.benchmark import cam, sections
from effnet_jax.benchmark.case import Case

LOOP_STEPS = 100


def run(
    cases: Sequence[Case],
    peers: Sequence[str],
    wanted: Sequence[str],
    *,
    rounds: int,
    round_seconds: float,
    trace_folder: str | None,
    photographs: str | None,
    say: sections.Say,
) -> dict[str, Any]:
    """Runs the sections in `wanted` on `cases`.

    Args:
      cases: workloads of "steps". The other sections take the first and, where size matters, the last
        training case; "cam" has its own.
      peers: what runs beside us in "steps".
      wanted: names of sections.
      rounds, round_seconds: see `rounds.measure`.
      trace_folder: where "operations" keeps its traces; None throws them away.
      photographs: folder of images for "data", which cuts them to the first training case's resolution.
      say: receives lines of progress.
    """
    training = [case for case in cases if case.mode == "train"] or list(cases)
    ends = list(dict.fromkeys((training[0], training[-1])))
    peaks = sections.machine(cases[0].dtype, say)
    peaks["versions"] |= sections.peer_versions(peers)
    data: dict[str, Any] = {"machine": peaks, "dtype": cases[0].dtype}
    if "steps" in wanted:
        data["results"] = sections.steps(cases, peers, rounds, round_seconds, peaks, say)
    if "startup" in wanted:
        data["startup"] = sections.startup(ends[0], say)
    if "memory" in wanted:
        data["memory"] = sections.memory(ends[-1], say)
    if "loop" in wanted:
        data["loop"] = sections.loop(ends[0], LOOP_STEPS, say)
    if "augment" in wanted:
        data["augment"] = sections.augment(ends[0], say)
    if "data" in wanted:
        data["data"] = sections.data(photographs, training[0].resolution, rounds, round_seconds, say)
    if "operations" in wanted:
        data["operations"] = [sections.operations(case, trace_folder, say) for case in ends]
    if "cam" in wanted:
        data["cam"] = cam.cam(cam.peer_is_installed(), rounds, round_seconds, say)
    if "depthwise" in wanted:
        data["depthwise"] = [sections.depthwise(case, say) for case in ends]
    return data
