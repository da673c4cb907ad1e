"""The parts of a benchmark; each runs its measurements in processes of their own and returns plain data."""

import dataclasses
import importlib.metadata
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from effnet_jax.benchmark.case import FORWARD, OURS, PEERS, USES, Case, able
from effnet_jax.benchmark.rounds import Result, measure
from effnet_jax.benchmark.worker import Worker, isolated

Say = Callable[[str], None]
PACKAGE = "effnet_jax.benchmark"


def machine(dtype: str, say: Say) -> dict[str, Any]:
    """What is measured on, and its peaks."""
    say("measuring the machine's own peaks")
    return isolated(f"{PACKAGE}.machine", "peaks", dtype)


def peer_versions(peers: Sequence[str]) -> dict[str, str]:
    """Versions of the packages behind the peers."""
    packages = sorted({package for peer in peers for package in PEERS[peer]})
    return {package: importlib.metadata.version(package) for package in packages}


def steps(
    case: Case, peers: Sequence[str], rounds: int, round_seconds: float, peaks: dict[str, Any], say: Say
) -> list[dict[str, Any]]:
    """Throughput, compile time and memory of every implementation on a case."""
    results = measure(case, (OURS, *able(peers, case)), rounds, round_seconds, say)
    return [_entry(result, results[0], peaks) for result in results]


def _entry(result: Result, ours: Result, peaks: dict[str, Any]) -> dict[str, Any]:
    case = result.case
    entry = {
        "implementation": result.implementation,
        "model": case.model,
        "mode": case.mode,
        "batch_size": case.batch_size,
        "resolution": case.resolution,
        "dtype": case.dtype,
        "remat": case.remat,
    }
    if result.failure:
        return entry | {"failure": result.failure}
    per_second = 1 / result.seconds_per_step
    moved = result.bytes_per_step if result.implementation == OURS else None
    return entry | {
        "images_per_second": result.images_per_second,
        "min": min(result.rates),
        "max": max(result.rates),
        "rounds": len(result.rates),
        "rates": list(result.rates),
        "ours_is_faster_by": None if ours.failure else ours.ratio(result),
        "compile_seconds": result.compile_seconds,
        "peak_memory_mb": result.peak_memory / 2**20,
        "share_of_peak_flops": case.flops() * per_second / peaks["flops"],
        "share_of_peak_bytes": moved and moved * per_second / peaks["bytes"],
    }


def startup(case: Case, say: Say) -> dict[str, Any]:
    """Seconds until the step is compiled: with an empty compilation cache, and on the next start."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = []
        for start in ("first", "second"):
            say(f"{case}: {start} start")
            worker = Worker(OURS, case, cache)
            seconds.append(worker.compile_seconds)
            worker.finish()
    return {"case": str(case), "first_start_seconds": seconds[0], "second_start_seconds": seconds[1]}


def memory(case: Case, say: Say) -> list[dict[str, Any]]:
    """Peak memory and speed with and without recomputing blocks in the backward pass."""
    found = []
    for remat in (False, True):
        (result,) = measure(dataclasses.replace(case, remat=remat), [OURS], 3, 1.0, say)
        rate, peak = result.images_per_second, result.peak_memory / 2**20
        found.append({"case": str(result.case), "images_per_second": rate, "peak_memory_mb": peak})
    return found


def footprint(case: Case, say: Say) -> dict[str, Any]:
    """Peak memory of each use of a checkpoint beside the forward pass alone; see `footprint`."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        isolated(f"{PACKAGE}.footprint", "prepare", folder, case)
        for use in (FORWARD, *USES):
            say(f"{case.model}, {case.batch_size} @ {case.resolution}: memory of {use}")
            for _ in range(2):  # the first compiles
                peak = isolated(f"{PACKAGE}.footprint", "measure", use, folder, case, cache_dir=cache)
            found[use] = peak / 2**20
    return {"model": case.model, "batch_size": case.batch_size, "resolution": case.resolution, "peak_memory_mb": found}


def loop(case: Case, turns: int, say: Say) -> dict[str, Any]:
    """The training loop beside its own step, in turns; see `loop.measure`."""
    say(f"{case}: the whole training loop")
    config = _default_config()
    with config.unlocked():
        config.update(batch_size=case.batch_size)
        config.model.update(name=case.model, dtype=case.dtype, allow_1x1_map=True)
        config.dataset.resolution = case.resolution
    return {"case": str(case), **isolated(f"{PACKAGE}.loop", "measure", config, turns)}


def _default_config() -> ml_collections.ConfigDict:
    from configs import default

    return default.get_config()


def operations(case: Case, folder: str | None, say: Say) -> dict[str, Any]:
    """Where our step goes; see `operations.profile`."""
    say(f"{case}: per-operation profile")
    rows = isolated(f"{PACKAGE}.operations", "profile", case, folder)
    return {"case": str(case), "rows": [dataclasses.asdict(row) for row in rows]}


def depthwise(case: Case, say: Say) -> dict[str, Any]:
    """Every depthwise shape by direction and formulation; see `depthwise.measure`."""
    say(f"{case}: depthwise convolutions by shape")
    rows = isolated(f"{PACKAGE}.depthwise", "measure", case)
    return {"case": str(case), "rows": [dataclasses.asdict(row) for row in rows]}


def data(folder: str | None, side: int, rounds: int, round_seconds: float, say: Say) -> dict[str, Any]:
    """Photographs into training crops, on one core; see `photographs.measure`."""
    say(f"photographs: crops of {side} pixels, on one core")
    return isolated(f"{PACKAGE}.photographs", "measure", folder, side, rounds, round_seconds)


def augment(case: Case, say: Say) -> dict[str, Any]:
    """What augmentation adds to a step; see `augment.measure`."""
    say(f"{case}: augmentation")
    return {"case": str(case), **isolated(f"{PACKAGE}.augment", "measure", case, _default_config().augment)}
