"""The figures of a run: from sums to rates, and the file that keeps them (metrics.jsonl)."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

TOP = 5  # classes among which the right one may be


def rates(sums: Mapping[str, Any], num_classes: int) -> dict[str, float]:
    """Turns summed metrics into {"loss", "accuracy", "top5_accuracy"}; accuracies are fractions.

    Of five classes or fewer there is no top-5 accuracy: it would be 1 whatever the network says.
    """
    count = int(sums["count"])
    figures = {"loss": float(sums["loss"]) / count, "accuracy": int(sums["correct"]) / count}
    return figures | ({"top5_accuracy": int(sums["top5_correct"]) / count} if num_classes > TOP else {})


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl; a line cut short by a crash is passed over."""
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


class MetricsFile:
    """metrics.jsonl: one JSON object a line, one line an event, in order of steps.

    A line of step N is in the file before the checkpoint of step N is. So a run that resumes at a
    checkpoint keeps the lines up to its step, drops the rest, and writes those again.
    """

    def __init__(self, path: pathlib.Path, resume_step: int):
        """Opens the file for a run that goes on after `resume_step` updates.

        Test lines go as well: the test split is taken at the end, of which there is but one.
        """
        self._path = path
        kept = []
        if path.exists():
            kept = [r for r in read(path) if r["step"] <= resume_step and r["split"] != "test"]
        rewritten = path.with_suffix(".tmp")
        rewritten.write_text("".join(json.dumps(record) + "\n" for record in kept))
        os.replace(rewritten, path)
        self._file = path.open("a")

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one event and hands it to the operating system at once."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
