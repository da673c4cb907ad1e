"""One checkpoint at work: its images in batches over all local devices, its probabilities and maps."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.cam import base, faithfulness
from effnet_jax.cam.pictures import Picture
from effnet_jax.cam.registry import Method
from effnet_jax.cam.targets import Difference
from effnet_jax.inference import classifier
from effnet_jax.process import sharding


class Explainer:
    """A checkpoint that explains itself.

    Attributes:
      net: the model with its class names and preprocessing.
      name: what pictures and tables call it.
      variables: on all devices.
      batch_size: images at a time, a multiple of the number of devices.
      one_image: shape and dtype of a batch of one.
    """

    def __init__(self, net: classifier.Classifier, name: str, batch_size: int):
        self.net, self.name = net, name
        self._mesh = sharding.data_mesh(jax.local_devices())
        self.variables = net.variables = self.replicate(net.variables)  # not a second time beside the first
        self.batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._map_sizes: dict[str | None, tuple[int, int]] = {}  # to find one, the model is traced
        self._normalize = jax.jit(net.preprocess.normalize)
        self.one_image = jax.ShapeDtypeStruct((1, net.resolution, net.resolution, net.preprocess.channels), jnp.float32)

    def check(self, method: Method, layer: str | None) -> None:
        """Raises a `UserError` where `method` cannot be had at `layer`; computes nothing."""
        explain = lambda v, x: method(self.net.model, v, x, None, layer, raw=True)  # noqa: E731
        jax.eval_shape(explain, self.net.variables, self.one_image)

    def map_size(self, layer: str | None) -> tuple[int, int]:
        """Height and width of the map at a layer; without one, of the head map."""
        if layer not in self._map_sizes:
            below = lambda v, x: base.features(self.net.model, v, x, layer or base.HEAD)  # noqa: E731
            self._map_sizes[layer] = jax.eval_shape(below, self.net.variables, self.one_image).shape[1:3]
        return self._map_sizes[layer]

    def replicate(self, variables: Any) -> Any:
        """Puts variables, whole, on every device; what lies on the only one already is not copied."""
        return jax.device_put(variables, sharding.replicated(self._mesh))

    def batches(self, pictures: Sequence[Picture]) -> Iterator[tuple[Sequence[Picture], jax.Array]]:
        """Yields pictures and their normalised images [batch_size, R, R, 3], the last batch padded by repetition."""
        for start in range(0, len(pictures), self.batch_size):
            chunk = pictures[start : start + self.batch_size]
            yield chunk, self._normalize(self._place(self.net.preprocess.batch([picture.pixels for picture in chunk])))

    def probabilities(self, images: jax.Array, layer: str | None = None) -> np.ndarray:
        """Returns [batch_size, classes]; maps at the same layer share the program below it."""
        layer = layer or base.HEAD
        fmap = base.below(self.net.model, self.variables, images, layer)
        return np.asarray(_probabilities(self.net.model, self.variables, fmap, layer))

    def confidence(self, classes: np.ndarray) -> faithfulness.Confidence:
        """Returns the function images -> probability [batch_size] of one class each, compiled once.

        It waits for its result. Left to run ahead, dozens of programs would queue up on each device, and devices that
        have to meet in one of them give up after 40 seconds on a busy CPU.
        """
        evaluate = functools.partial(_confidence, self.net.model, self.variables, classes=self._place(classes))
        return lambda images: jax.block_until_ready(evaluate(images))

    def raw_maps(
        self, method: Method, images: jax.Array, targets: np.ndarray | Difference, layer: str | None, variables: Any
    ) -> jax.Array:
        """Returns signed maps [batch_size, T, h, w] of the model with `variables`."""
        targets = jax.tree.map(self._place, targets)
        return method(self.net.model, variables, images, targets, layer, raw=True)

    def _place(self, values: np.ndarray) -> jax.Array:
        """Puts the rows of a batch on the devices, the missing ones filled with the last."""
        missing = self.batch_size - len(values)
        if missing:
            values = np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1), "edge")
        return jax.device_put(values, sharding.batch_sharded(self._mesh))


@functools.partial(jax.jit, static_argnames=("model", "layer"))
def _probabilities(model: Any, variables: Any, fmap: jax.Array, layer: str) -> jax.Array:
    """Returns [N, classes]."""
    return jax.nn.softmax(base.head(model, variables, fmap, layer))


@functools.partial(jax.jit, static_argnames="model")
def _confidence(model: Any, variables: Any, images: jax.Array, classes: jax.Array) -> jax.Array:
    """Returns the probabilities [N] of one class each."""
    probabilities = jax.nn.softmax(model.apply(variables, images, train=False))
    return jnp.take_along_axis(probabilities, classes[:, None], axis=1)[:, 0]
