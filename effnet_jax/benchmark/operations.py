"""Where a step goes: the time of every operation of the compiled program, added up by layer."""

import collections
import dataclasses
import glob
import pathlib
import re
import tempfile

import jax
from jax.profiler import ProfileData

from effnet_jax.benchmark.case import OURS, Case
from effnet_jax.benchmark.jax_models import JaxImplementation
from effnet_jax.benchmark.worker import warm_up
from effnet_jax.process import heap

WARM_UP_SECONDS = 10
STEPS = 4
# What the scope of an operation tells about the layer it belongs to; the last match counts.
_LAYERS = re.compile(
    r"(stem|head_conv|expand_conv|depthwise_conv|project_conv|expand_bn|depthwise_bn|project_bn|/se/|classifier)"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Operations of one kind of layer in one direction.

    Attributes:
      layer: "expand_conv", "depthwise_bn", ...; "loss and update" for what belongs to none. An expansion that is one
        operation with its BatchNorm counts as "expand_bn".
      direction: "forward" or "backward".
      milliseconds: of one step; operations that run side by side count in full each.
      operations: executed in one step.
    """

    layer: str
    direction: str
    milliseconds: float
    operations: float


def profile(case: Case, folder: str | None = None) -> list[Row]:
    """Traces a few steps of our model and adds up the time of its operations, largest first.

    Args:
      case: the workload.
      folder: keep the trace there (for TensorBoard or Perfetto); otherwise it is thrown away.
    """
    implementation = JaxImplementation(OURS, case)
    heap.tidy()
    warm_up(implementation, STEPS, WARM_UP_SECONDS)
    with tempfile.TemporaryDirectory() as temporary:
        target = folder or temporary
        before = set(_traces(target))
        with jax.profiler.trace(target):
            implementation.run(STEPS)
        (trace,) = set(_traces(target)) - before
        times = _self_times(ProfileData.from_file(trace))
    scopes = dict(re.findall(r'%?([\w.\-]+) = [^\n]*?op_name="([^"]*)"', implementation.compiled.as_text()))
    rows: dict[tuple[str, str], list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    for operation, (milliseconds, count) in times.items():
        row = rows[_place(scopes.get(operation, ""))]
        row[0] += milliseconds / STEPS
        row[1] += count / STEPS
    return sorted((Row(*place, *values) for place, values in rows.items()), key=lambda row: -row.milliseconds)


def _traces(folder: str) -> list[str]:
    return glob.glob(str(pathlib.Path(folder) / "**/*.xplane.pb"), recursive=True)


def _place(scope: str) -> tuple[str, str]:
    layers = _LAYERS.findall(scope)
    if not layers:
        return "loss and update", "backward" if "transpose(jvp" in scope else "forward"
    return layers[-1].strip("/"), "backward" if "transpose(jvp" in scope else "forward"


def _self_times(data: ProfileData) -> dict[str, tuple[float, int]]:
    """Milliseconds and number of executions by operation, without those nested in it (loop bodies)."""
    times: dict[str, float] = collections.Counter()
    counts: dict[str, int] = collections.Counter()
    for line in (line for plane in data.planes for line in plane.lines):
        open_events: list[list] = []  # [end, operation, duration of what is nested, duration]

        def close(events: list[list]) -> None:
            _, operation, nested, duration = events.pop()
            if operation:
                times[operation] += (duration - nested) / 1e6
                counts[operation] += 1

        events = [(event.start_ns, event.duration_ns, dict(event.stats).get("hlo_op")) for event in line.events]
        if not any(operation for *_, operation in events):
            continue
        for start, duration, operation in sorted(events, key=lambda event: (event[0], -event[1])):
            while open_events and open_events[-1][0] <= start:
                close(open_events)
            if open_events:
                open_events[-1][2] += duration
            open_events.append([start + duration, operation, 0, duration])
        while open_events:
            close(open_events)
    return {operation: (times[operation], counts[operation]) for operation in times}
