"""Using a checkpoint: `load(path)` gives a classifier that needs to be told nothing else."""

import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.data.decode import inputs
from effnet_jax.data.decode.images import UnreadableImageError
from effnet_jax.data.decode.inputs import COLOUR, Input
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.models import folding
from effnet_jax.models.registry import create_model
from effnet_jax.training import checkpoint

Path = str | pathlib.Path
Images = Input | Iterable[Input]
DEFAULT_BATCH = 32
_READERS = 4  # threads that decode image files; Pillow lets go of Python's lock while it does


class Classifier:
    """A trained model with its preprocessing and class names.

        net = effnet_jax.load("runs/b0_cifar100")
        probabilities = net.predict(["cat.jpg", "dog.png"])
        print(net.labels[probabilities[0].argmax()])

    Attributes:
      model: the Flax module.
      variables: {"params", "batch_stats"}; BatchNorm is folded into the convolutions unless `fold` was False.
      labels: class names, in the order of the logits.
      preprocess: crop, resize and normalisation.
      metadata: everything the checkpoint says of itself.
      step: updates of the training run behind it.
      ema: whether the weights are moving averages.
    """

    def __init__(self, loaded: checkpoint.Loaded, fold: bool = True):
        self.metadata, self.step, self.ema = loaded.metadata, loaded.step, loaded.ema
        self.model: nn.Module = create_model(**self.metadata["model"])
        # On the device from here on: arrays of the host would be there as well, and go over with every call.
        put = jax.device_put
        self.variables: dict[str, Any] = (
            folding.fold(self.model, loaded.variables, put) if fold else put(loaded.variables)
        )
        self.labels: tuple[str, ...] = tuple(self.metadata["class_names"])
        self.preprocess = Preprocess(**self.metadata["preprocess"])
        self._functions = {
            name: jax.jit(function)
            for name, function in (
                ("predict", self._probabilities),
                ("features", self._features),
                ("embed", self._embeddings),
            )
        }

    @property
    def resolution(self) -> int:
        """Side in pixels of what the model sees."""
        return self.preprocess.resolution

    def predict(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns class probabilities, float32 [N, classes].

        Args:
          images: one image or several, each of any size: paths, the bytes of image files, Pillow images, arrays uint8
            [H, W, C], or one array [N, H, W, C]. C is 3, or what the model was created with; a model of one channel
            takes colour, too, and makes it grey. Grey [H, W] becomes colour, and transparency is laid on white, as in
            files. No size of image is compiled for.
          batch_size: images at a time at most. The last batch is padded, and fewer images than one batch
            to a power of two, so that few sizes are compiled.

        Raises:
          UnreadableImageError: a path that holds no readable image.
          UserError: no image at all, one of other channels or another shape, or values other than uint8.
        """
        return self._run("predict", images, batch_size)

    def features(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns the head maps after the last activation, [N, h, w, C]; arguments as in `predict`."""
        return self._run("features", images, batch_size)

    def embed(self, images: Images, batch_size: int = DEFAULT_BATCH) -> np.ndarray:
        """Returns the pooled head maps, float32 [N, C]; arguments as in `predict`."""
        return self._run("embed", images, batch_size)

    def predict_files(
        self, paths: Sequence[Path], batch_size: int = DEFAULT_BATCH
    ) -> Iterator[tuple[Path, np.ndarray | UnreadableImageError]]:
        """Yields every path, in order, with its probabilities [classes] or with what is wrong with it.

        Args:
          paths: image files; one batch of them is decoded at a time.
          batch_size: as in `predict`.
        """
        batch_size = _batch_size(len(paths), batch_size)
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(paths), batch_size):
                chunk = paths[start : start + batch_size]
                # Each image is written to its place: a list of them beside the batch would take the memory twice.
                batch = np.zeros((batch_size, self.resolution, self.resolution, COLOUR), np.float32)
                errors = list(pool.map(functools.partial(self._read_into, batch), range(len(chunk)), chunk))
                found = None if all(errors) else self._apply("predict", batch)
                for row, (path, error) in enumerate(zip(chunk, errors)):
                    yield path, error or found[row]

    def _probabilities(self, variables: Any, images: jax.Array) -> jax.Array:
        """Images of this and the other two are those of `Preprocess.prepare`."""
        return jax.nn.softmax(self.model.apply(variables, self.preprocess.normalize(images), train=False))

    def _features(self, variables: Any, images: jax.Array) -> jax.Array:
        return self.model.apply(variables, self.preprocess.normalize(images), train=False, method="features")

    def _embeddings(self, variables: Any, images: jax.Array) -> jax.Array:
        return jnp.mean(self._features(variables, images), axis=(1, 2), dtype=jnp.float32)

    def _run(self, name: str, images: Images, batch_size: int) -> np.ndarray:
        listed = inputs.as_list(images)
        batch_size = _batch_size(len(listed), batch_size)
        rows = []
        for start in range(0, len(listed), batch_size):
            chunk = listed[start : start + batch_size]
            rows.append(self._apply(name, self.preprocess.batch(chunk, batch_size))[: len(chunk)])
        return np.concatenate(rows)

    def _apply(self, name: str, batch: np.ndarray) -> np.ndarray:
        return np.asarray(self._functions[name](self.variables, batch))

    def _read_into(self, batch: np.ndarray, row: int, path: Path) -> UnreadableImageError | None:
        """Writes an image into a row; returns what is wrong with it."""
        try:
            batch[row] = self.preprocess.prepare(path)
        except UnreadableImageError as error:
            return error
        return None


def _batch_size(count: int, at_most: int) -> int:
    """Returns the size to which batches of `count` images are padded."""
    return min(at_most, 1 << (count - 1).bit_length())


def load(path: Path, weights: str = "selected", *, fold: bool = True) -> Classifier:
    """Loads a checkpoint for inference.

    Args:
      path: a run's workdir, its checkpoints folder, or one step of it; a file of scripts/export_weights.py
        --to=effnet_jax; the name of a model that comes with the package, such as "half_b0_cifar100"; or pretrained
        weights, see `checkpoint.load`.
      weights: "raw", "ema", or "selected" for whichever did better on validation.
      fold: make every BatchNorm part of the convolution before it (`models.folding`): the same results to rounding, in
        fewer operations. False keeps `variables` as they were trained, to train them on or to look at statistics.

    Raises:
      UserError: there is no checkpoint of this project, or weights cannot be had.
    """
    return Classifier(checkpoint.load(path, weights), fold)
