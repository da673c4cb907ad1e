"""Using a checkpoint: `load(path)` gives a `Classifier` that needs to be told nothing else."""

from effnet_jax.inference.classifier import Classifier, load

__all__ = ["Classifier", "load"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what Tab offers
