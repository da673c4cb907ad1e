"""Using a checkpoint: `load(path)` gives a classifier that needs to be told nothing else."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.images import read_image
from effnet_jax.data.preprocess import Preprocess
from effnet_jax.models.registry import create_model
from effnet_jax.training import checkpoint

Images = np.ndarray | Sequence[str | pathlib.Path]
DEFAULT_BATCH = 32


class Classifier:
    """A trained model with its preprocessing and class names.

        net = effnet_jax.load("runs/b0_cifar100")
        probabilities = net.predict(["cat.jpg", "dog.png"])
        print(net.labels[probabilities[0].argmax()])

    Attributes:
      model: the Flax module.
      variables: {"params", "batch_stats"}.
      labels: class names, in the order of the logits.
      preprocess: crop, resize and normalisation.
      metadata: everything the checkpoint says of itself.
      step: updates of the training run behind it.
      ema: whether the weights are moving averages.
    """

    def __init__(self, loaded: checkpoint.Loaded):
        self.metadata, self.step, self.ema = loaded.metadata, loaded.step, loaded.ema
        self.model: nn.Module = create_model(**self.metadata["model"])
        self.variables: dict[str, Any] = loaded.variables
        self.labels: tuple[str, ...] = tuple(self.metadata["class_names"])
        self.preprocess = Preprocess(**self.metadata["preprocess"])
        self._functions = {
            "predict": jax.jit(lambda v, x: jax.nn.softmax(self.model.apply(v, self.preprocess(x), train=False))),
            "features": jax.jit(self._features),
            "embed": jax.jit(lambda v, x: jnp.mean(self._features(v, x), axis=(1, 2), dtype=jnp.float32)),
        }

    @property
    def resolution(self) -> int:
        """Side in pixels of what the model sees."""
        return self.preprocess.resolution

    def predict(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns class probabilities, float32 [N, classes].

        Args:
          images: uint8 [N, H, W, 3] of any one size, or paths of image files of any sizes.
          batch_size: images at a time; the last batch is padded, so one size compiles once.

        Raises:
          UnreadableImageError: a path that holds no readable image.
        """
        return self._run("predict", images, batch_size)

    def features(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns the head maps after the last activation, [N, h, w, C]; arguments as in `predict`."""
        return self._run("features", images, batch_size)

    def embed(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns the pooled head maps, float32 [N, C]; arguments as in `predict`."""
        return self._run("embed", images, batch_size)

    def _features(self, variables: Any, images: jax.Array) -> jax.Array:
        return self.model.apply(variables, self.preprocess(images), train=False, method="features")

    def _run(self, name: str, images: Images, batch_size: int) -> np.ndarray:
        function: Callable[[Any, np.ndarray], jax.Array] = self._functions[name]
        return np.concatenate(
            [
                np.asarray(function(self.variables, _padded(batch, batch_size)))[: len(batch)]
                for batch in self._batches(images, batch_size)
            ]
        )

    def _batches(self, images: Images, batch_size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(images), batch_size):
            chunk = images[start : start + batch_size]
            if isinstance(chunk, np.ndarray):
                yield chunk
            else:
                yield np.stack([self.preprocess.on_host(read_image(path)) for path in chunk])


def _padded(batch: np.ndarray, batch_size: int) -> np.ndarray:
    return np.pad(batch, [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])


def load(path: str | pathlib.Path, weights: str = "selected") -> Classifier:
    """Loads a checkpoint for inference.

    Args:
      path: a run's workdir, its checkpoints folder, or one step of it.
      weights: "raw", "ema", or "selected" for whichever did better on validation.

    Raises:
      UserError: there is no checkpoint of this project.
    """
    return Classifier(checkpoint.load(path, weights))
