"""Weights with what they say of themselves, wherever they were read."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained model read for inference.

    Attributes:
      variables: {"params", "batch_stats"}.
      metadata: model, preprocessing, class names and how it came about.
      step: updates done.
      ema: whether `variables` are the moving averages.
    """

    variables: dict[str, Any]
    metadata: dict[str, Any]
    step: int
    ema: bool
