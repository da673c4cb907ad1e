"""Our maps under the clock."""

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.benchmark.case import Case
from effnet_jax.cam.registry import METHODS
from effnet_jax.models.registry import create_model
from effnet_jax.process import xla_flags


class JaxCam:
    """One method, or plain inference, on random images; the result is fetched each time, as the peer's is."""

    compile_seconds = None  # it compiles in the first, untimed run

    def __init__(self, what: str, case: Case):
        self._model = create_model(case.model, case.num_classes, dtype=case.dtype)
        self._what = what
        shape = (case.batch_size, case.resolution, case.resolution, 3)
        self._images = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32), case.dtype)
        init = jax.jit(
            lambda key: self._model.init(key, self._images[:1], train=False),
            compiler_options=xla_flags.quick_compile(),
        )
        self._variables = init(jax.random.key(0))
        self._infer = jax.jit(lambda variables, images: self._model.apply(variables, images, train=False))

    def run(self, steps: int) -> None:
        """Runs a number of steps, each to its end."""
        for _ in range(steps):
            if self._what in METHODS:
                found = METHODS[self._what](self._model, self._variables, self._images, None, None)
            else:
                found = self._infer(self._variables, self._images)
            np.asarray(found)

    def accelerator_memory(self) -> int | None:
        """Peak bytes on the device; None on a CPU."""
        stats = jax.devices()[0].memory_stats()
        return stats and stats.get("peak_bytes_in_use")
