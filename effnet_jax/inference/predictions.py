"""What `scripts/predict.py` prints: class names and probabilities by image."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from effnet_jax.inference.classifier import Classifier
from effnet_jax.process import memory


def records(net: Classifier, paths: Sequence[pathlib.Path], top_k: int, batch_size: int) -> list[dict[str, Any]]:
    """Predicts image files; one that cannot be read stops nothing.

    Args:
      net: the model.
      paths: image files.
      top_k: classes an image, at most as many as there are.
      batch_size: images at a time.

    Returns:
      In the order of `paths`, {"path", "predictions": [{"label", "index", "probability"}]} by falling
      probability, or {"path", "error"}.

    Raises:
      UserError: such a batch does not fit into memory.
    """
    found = []
    with memory.enough_for(f"a batch of {batch_size} images", "lower --batch_size"):
        results = list(net.predict_files(paths, batch_size))
    for path, result in results:
        if isinstance(result, np.ndarray):
            best = np.argsort(-result, kind="stable")[:top_k].tolist()
            predictions = [
                {"label": net.labels[index], "index": index, "probability": result[index].item()} for index in best
            ]
            found.append({"path": str(path), "predictions": predictions})
        else:
            found.append({"path": str(path), "error": str(result)})
    return found


def as_table(found: Sequence[dict[str, Any]]) -> str:
    """Returns the readable ones of `records` as lines of path, probability and label."""
    rows = [
        (
            record["path"] if rank == 0 else "",
            f"{100 * prediction['probability']:6.2f} %",
            prediction["label"],
        )
        for record in found
        if "predictions" in record
        for rank, prediction in enumerate(record["predictions"])
    ]
    width = max((len(path) for path, _, _ in rows), default=0)
    return "\n".join(f"{path:<{width}}  {probability}  {label}" for path, probability, label in rows)


def failures(found: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what is wrong with each image that could not be read."""
    return [record["error"] for record in found if "error" in record]
