"""Class activation maps beside pytorch-grad-cam's, and beside the forward pass that they cannot do without."""

import dataclasses
import importlib.util
import statistics
from collections.abc import Sequence
from typing import Any

from effnet_jax.architecture import catalog
from effnet_jax.benchmark.case import CAM_PACKAGES, CAM_PEER, OURS, Case
from effnet_jax.benchmark.rounds import Result, measure
from effnet_jax.benchmark.sections import Say

INFERENCE, SCORE_CAM = "inference", "score_cam"
METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam")
MODEL, BATCH_SIZE, RESOLUTION = "efficientnet_b0", 16, 224


@dataclasses.dataclass(frozen=True)
class CamCase(Case):
    """One workload of maps; an implementation is called "effnet_jax: grad_cam" or "pytorch-grad-cam: inference"."""

    def __str__(self) -> str:
        return f"maps {self.batch_size} @ {self.resolution}"


def peer_is_installed() -> bool:
    """Whether pytorch-grad-cam and what it needs are there."""
    return all(importlib.util.find_spec(package) for package in CAM_PACKAGES)


def cam(with_peer: bool, rounds: int, round_seconds: float, say: Say) -> list[dict[str, Any]]:
    """Measures the methods at the head map for the predicted class, finished maps [N, 224, 224] included.

    All take turns with the inference of their own side. Score-CAM, which needs a forward pass a channel, is measured on
    one image in a rotation of its own; its forward passes a second stand beside that inference.

    Args:
      with_peer: beside pytorch-grad-cam.
      rounds, round_seconds: see `rounds.measure`.
      say: receives lines of progress.
    """
    sides = (OURS, CAM_PEER) if with_peer else (OURS,)
    names = [f"{side}: {what}" for side in sides for what in (INFERENCE, *METHODS)]
    case = CamCase(MODEL, "inference", BATCH_SIZE, RESOLUTION)
    found = _entries(measure(case, names, rounds, round_seconds, say))
    one = dataclasses.replace(case, batch_size=1)
    channels = catalog.architecture(MODEL).head_filters
    for entry in _entries(measure(one, [f"{side}: {SCORE_CAM}" for side in sides], rounds, round_seconds, say)):
        if "failure" not in entry:
            entry["forwards_per_second"] = channels * entry["images_per_second"]
        found.append(entry)
    return found


def _entries(results: Sequence[Result]) -> list[dict[str, Any]]:
    by_name = {result.implementation: result for result in results}
    found = []
    for result in results:
        side, _, what = result.implementation.partition(": ")
        entry = {"implementation": side, "what": what, "batch_size": result.case.batch_size}
        if result.failure:
            found.append(entry | {"failure": result.failure})
            continue
        inference, ours = by_name.get(f"{side}: {INFERENCE}"), by_name[f"{OURS}: {what}"]
        found.append(
            entry
            | {
                "images_per_second": statistics.median(result.rates),
                "min": min(result.rates),
                "max": max(result.rates),
                "rounds": len(result.rates),
                "share_of_own_inference": result.ratio(inference) if inference and not inference.failure else None,
                "ours_is_faster_by": None if ours.failure else ours.ratio(result),
                "peak_memory_mb": result.peak_memory / 2**20,
            }
        )
    return found
