"""What `--target` and `--top_k` mean for a model and its images."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from effnet_jax.cam.targets import Difference
from effnet_jax.errors import UserError, did_you_mean

PREDICTION, LABEL, AGAINST = "prediction", "label", ":"


@dataclasses.dataclass(frozen=True)
class Wish:
    """The classes to explain.

    Attributes:
      target: "prediction", "label", a class by name or index, or "A:B" for what speaks for A rather than B.
      top_k: the k most probable classes; only with "prediction".
    """

    target: str = PREDICTION
    top_k: int = 1

    def check(self, labels: Sequence[str]) -> None:
        """Raises a `UserError` where a model with these class names cannot be asked for this."""
        if self.top_k > 1 and self.target != PREDICTION:
            raise UserError(f"--top_k={self.top_k} explains predictions: leave --target={self.target} out")
        if self.top_k > len(labels):
            raise UserError(f"--top_k={self.top_k}: the model has {len(labels)} classes")
        if self.target not in (PREDICTION, LABEL):
            self._fixed(labels)

    def classes(self, probabilities: np.ndarray, true: Sequence[int | None], labels: Sequence[str]) -> np.ndarray:
        """Returns the class of each map, int [N, T]; of a difference the one wanted.

        Args:
          probabilities: [N, classes].
          true: the label of each image, None where unknown.
          labels: class names.

        Raises:
          UserError: "label" of an image whose label is not known.
        """
        if self.target == PREDICTION:
            return np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        if self.target == LABEL:
            if None in true:
                raise UserError("the true label of an image file is not known: name a class with --target")
            return np.asarray(true)[:, None]
        return np.full((len(probabilities), 1), self._fixed(labels)[0])

    def explained(self, classes: np.ndarray, labels: Sequence[str]) -> np.ndarray | Difference:
        """Returns what the methods are given for these classes [N, T]."""
        against = None if self.target in (PREDICTION, LABEL) else self._fixed(labels)[1]
        return classes if against is None else Difference(classes, np.full_like(classes, against))

    def describe(self, index: int, labels: Sequence[str]) -> str:
        """Returns the name of a map of class `index`."""
        against = None if self.target in (PREDICTION, LABEL) else self._fixed(labels)[1]
        return labels[index] if against is None else f"{labels[index]} rather than {labels[against]}"

    def _fixed(self, labels: Sequence[str]) -> tuple[int, int | None]:
        """Returns the class named and the one it is set against."""
        if self.target in labels:
            return labels.index(self.target), None
        wanted, _, against = self.target.partition(AGAINST)
        return find_class(wanted, labels), find_class(against, labels) if against else None


def find_class(text: str, labels: Sequence[str]) -> int:
    """Returns the index of a class given by name or by index.

    Raises:
      UserError: there is none; the nearest name is suggested.
    """
    name = text.strip()
    if name in labels:
        return labels.index(name)
    if name.isdecimal() and int(name) < len(labels):
        return int(name)
    hint = did_you_mean(name, labels) or f"; {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"
    raise UserError(f"no class {name!r} among the {len(labels)} of the model{hint}")
