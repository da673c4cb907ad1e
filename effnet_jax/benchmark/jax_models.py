"""Our model and the naive one under the clock: a step compiled once, on random data."""

import collections
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.benchmark.case import OURS, Case
from effnet_jax.benchmark.naive import NaiveEfficientNet
from effnet_jax.models.folding import fold
from effnet_jax.models.registry import create_model
from effnet_jax.process import xla_flags
from effnet_jax.process.runtime import MAX_QUEUED_DISPATCHES
from effnet_jax.training.step import cross_entropy

LEARNING_RATE = 1e-4  # small: a thousand steps on noise must not end in numbers that slow arithmetic down
Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, jax.Array]]


class JaxImplementation:
    """A compiled step and the state it runs on.

    Attributes:
      compile_seconds: tracing, lowering and compiling the step.
      compiled: the step, for its text and its cost.
    """

    def __init__(self, name: str, case: Case):
        model = create_model(
            case.model,
            case.num_classes,
            dtype=case.dtype,
            dropout_rate=0.0,
            stochastic_depth_rate=0.0,
            remat=case.remat,
            allow_1x1_map=True,
        )
        rng = np.random.default_rng(0)
        images = rng.standard_normal((case.batch_size, case.resolution, case.resolution, 3), np.float32)
        labels = rng.integers(0, case.num_classes, case.batch_size)
        self._batch = jnp.asarray(images, case.dtype), jnp.asarray(labels, jnp.int32)
        variables = initialised(model, case.resolution)
        if name == OURS and case.mode == "inference":
            variables = fold(model, variables)  # as `effnet_jax.load` does
        self._variables = jax.device_put(variables)
        if name != OURS:
            model = NaiveEfficientNet(model.architecture, case.num_classes, case.dtype)
        step = train_step(model) if case.mode == "train" else inference_step(model)
        started = time.perf_counter()
        self.compiled = jax.jit(step, donate_argnums=0).lower(self._variables, *self._batch).compile()
        self.compile_seconds = time.perf_counter() - started

    def run(self, steps: int) -> None:
        """Runs a number of steps and waits for the last."""
        run_queued(self._step, steps)
        jax.block_until_ready(self._variables)

    def _step(self) -> jax.Array:
        self._variables, result = self.compiled(self._variables, *self._batch)
        return result

    def accelerator_memory(self) -> int | None:
        """Peak bytes on the device; None on a CPU, where the process's own peak says it."""
        stats = jax.devices()[0].memory_stats()
        return stats and stats.get("peak_bytes_in_use")


def initialised(model: Any, resolution: int) -> Any:
    """Returns variables of a model as it is created, for images of so many pixels a side."""
    images = jnp.zeros((1, resolution, resolution, 3))
    # Quick to compile: this runs once, and a random generator for each kernel takes long to optimise.
    options = xla_flags.quick_compile()
    return jax.jit(lambda key: model.init(key, images, train=False), compiler_options=options)(jax.random.key(0))


def run_queued(step: Callable[[], jax.Array], count: int) -> None:
    """Calls `step`, which returns a result of its own, so often, queued as training queues steps; waits for all."""
    queued: collections.deque[jax.Array] = collections.deque()
    for _ in range(count):
        queued.append(step())
        if len(queued) > MAX_QUEUED_DISPATCHES:
            jax.block_until_ready(queued.popleft())
    jax.block_until_ready(list(queued))


def train_step(model: Any) -> Step:
    """Returns one step of plain SGD on the cross-entropy: `step(variables, images, labels) -> variables, loss`."""

    def step(variables, images, labels):
        def loss(params):
            variables_in = {"params": params, "batch_stats": variables["batch_stats"]}
            logits, mutated = model.apply(variables_in, images, train=True, mutable=["batch_stats"])
            return cross_entropy(logits, labels).mean(), mutated["batch_stats"]

        (value, batch_stats), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, variables["params"], grads)
        return {"params": params, "batch_stats": batch_stats}, value

    return step


def inference_step(model: Any) -> Step:
    """Returns `step(variables, images, labels) -> variables, logits`."""
    return lambda variables, images, labels: (variables, model.apply(variables, images, train=False))
