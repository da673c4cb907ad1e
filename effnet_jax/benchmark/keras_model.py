"""keras.applications on JAX under the clock, with the two calls its users make."""

import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src.applications import efficientnet

from effnet_jax.architecture import scaling
from effnet_jax.benchmark.case import Case
from effnet_jax.benchmark.jax_models import LEARNING_RATE


class KerasImplementation:
    """Without dropout and stochastic depth, like every other implementation here."""

    def __init__(self, name: str, case: Case):
        del name
        keras.config.set_dtype_policy("mixed_bfloat16" if case.dtype == "bfloat16" else "float32")
        published = scaling.variant(case.model)
        self._model = efficientnet.EfficientNet(
            published.width_multiplier,
            published.depth_multiplier,
            published.resolution,
            dropout_rate=0.0,
            drop_connect_rate=0.0,
            weights=None,
            classes=case.num_classes,
            input_shape=(case.resolution, case.resolution, 3),
            classifier_activation=None,
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, jit_compile=True)
        rng = np.random.default_rng(0)
        shape = (case.batch_size, case.resolution, case.resolution, 3)
        self._images = jnp.asarray(rng.uniform(0, 255, shape), jnp.float32)
        self._labels = jnp.asarray(rng.integers(0, case.num_classes, case.batch_size))
        self._train = case.mode == "train"
        started = time.perf_counter()
        self.run(1)
        self.compile_seconds = time.perf_counter() - started

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self._train:
                self._model.train_on_batch(self._images, self._labels)
            else:
                self._model.predict_on_batch(self._images)

    def accelerator_memory(self) -> int | None:
        stats = jax.devices()[0].memory_stats()
        return stats and stats.get("peak_bytes_in_use")
