"""What of a run is compiled: its functions of arrays, built of a config and a few facts about the data."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from effnet_jax.data.device import pipeline
from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.process import sharding, target, xla_flags
from effnet_jax.training.freezing import Freezing, Path
from effnet_jax.training.optimizer import learning_rate_schedule, make_optimizer
from effnet_jax.training.plan import Plan
from effnet_jax.training.rates import learning_rate_factors, scaled
from effnet_jax.training.state import TrainState, create_state, init_variables
from effnet_jax.training.step import make_update

# (state, what the steps read, number of updates) -> (state, a small array to wait for)
TrainSteps = Callable[[TrainState, pipeline.Feed, int], tuple[TrainState, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Program:
    """The jitted functions of a run, and what they are made of.

    Attributes:
      mesh: the devices; they need not be of this machine.
      shapes: of the model's variables.
      learning: how parameters move, and which.
      order_key: of the orders in which epochs visit the examples.
      pipe: makes batches of what feeds give.
      state_from: makes the state of step 0 of the variables that are taken over.
      train_steps: runs a number of updates; donates the state.
    """

    mesh: jax.sharding.Mesh
    shapes: dict[str, Any]
    learning: "Learning"
    order_key: jax.Array
    pipe: pipeline.Pipeline
    state_from: Callable[[dict[Path, np.ndarray]], TrainState]
    train_steps: TrainSteps

    @classmethod
    def of(
        cls,
        config: ml_collections.ConfigDict,
        model: nn.Module,
        plan: Plan,
        preprocess: Preprocess,
        mesh: jax.sharding.Mesh,
    ) -> "Program":
        """Builds it; nothing is compiled yet.

        Args:
          config: of the run.
          model: a `ChainClassifier`.
          plan: when things happen.
          preprocess: of original images.
          mesh: the devices.

        Raises:
          UserError: the config asks for what does not exist.
        """
        init_key, order_key, augment_key, update_key = jax.random.split(jax.random.key(config.seed), 4)
        augment = Augmentation.from_config(config.augment)
        pipe = pipeline.Pipeline(mesh, preprocess.of_cut_images(), augment, config.model.num_classes)
        initialise = functools.partial(init_variables, model, init_key, config.dataset.resolution)
        shapes = jax.eval_shape(initialise)
        learning = Learning.from_config(config, model, plan, shapes)
        num_mixed_steps = round(config.augment.mix_until * plan.num_train_steps)
        update = learning.update(config, model, update_key)
        return cls(
            mesh=mesh,
            shapes=shapes,
            learning=learning,
            order_key=order_key,
            pipe=pipe,
            state_from=_state_from(config, mesh, initialise, learning),
            train_steps=_train_steps(update, pipe, plan, augment_key, num_mixed_steps),
        )


@dataclasses.dataclass(frozen=True)
class Learning:
    """How parameters move, and which.

    Attributes:
      schedule: learning rate by step.
      tx: update rule of the parameters that are trained.
      freezing: what is not trained.
    """

    schedule: optax.Schedule
    tx: optax.GradientTransformation
    freezing: Freezing

    @classmethod
    def from_config(
        cls, config: ml_collections.ConfigDict, model: nn.Module, plan: Plan, shapes: dict[str, Any]
    ) -> "Learning":
        schedule = learning_rate_schedule(
            config.optimizer,
            batch_size=plan.batch_size,
            steps_per_epoch=plan.steps_per_epoch,
            num_train_steps=plan.num_train_steps,
        )
        factors = learning_rate_factors(config.optimizer.learning_rate_factors, shapes["params"])
        freezing = Freezing.of(model, shapes, (path for path, factor in factors.items() if not factor))
        tx = scaled(make_optimizer(config.optimizer, schedule, shapes["batch_stats"]), factors)
        return cls(schedule, tx, freezing)

    def update(
        self, config: ml_collections.ConfigDict, model: nn.Module, key: jax.Array
    ) -> Callable[[TrainState, pipeline.Batch], TrainState]:
        return make_update(
            model,
            self.tx,
            key,
            label_smoothing=config.label_smoothing,
            ema_decay=config.ema_decay,
            accumulation_steps=config.optimizer.accumulation_steps,
            freezing=self.freezing,
        )


def _state_from(
    config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, initialise: Callable[[], Any], learning: Learning
) -> Callable[[dict[Path, np.ndarray]], TrainState]:
    # Holding a random generator for each kernel, it takes longer to optimise than the training step of a small model.
    quick = xla_flags.quick_compile()

    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh), compiler_options=quick)
    def state_from(kept: dict[Path, jax.Array]) -> TrainState:
        variables = unflatten_dict(flatten_dict(initialise()) | kept)
        return create_state(variables, learning.tx, ema=config.ema_decay > 0, freezing=learning.freezing)

    return state_from


def _train_steps(
    update: Callable[[TrainState, pipeline.Batch], TrainState],
    pipe: pipeline.Pipeline,
    plan: Plan,
    augment_key: jax.Array,
    num_mixed_steps: int,
) -> TrainSteps:
    def one_step(state: TrainState, feed: pipeline.Feed) -> TrainState:
        key = jax.random.fold_in(augment_key, state.step)
        mixed = state.step < num_mixed_steps
        return update(state, pipe.train_batch(feed, state.step, plan.batch_size, key, mixed))

    # The state whole on every device, so that each process can save it.
    jitted = functools.partial(jax.jit, donate_argnums=0, out_shardings=sharding.replicated(pipe.mesh))
    at_once = plan.steps_per_dispatch

    def steps(state, feed, count):
        if at_once == 1:
            state = one_step(state, feed)
        else:
            state = jax.lax.fori_loop(0, count, lambda _, state: one_step(state, feed), state)
        return state, state.metrics["count"]

    if at_once == 1 or target.is_cpu():
        return jitted(steps)
    # A GPU's host reads the length of a loop each time it turns, unless it is known to the compiler: one program for as
    # many steps as there usually are, and one of a single step for what is left.
    usual = jitted(lambda state, feed: steps(state, feed, at_once))
    single = jitted(lambda state, feed: steps(state, feed, 1))

    def train_steps(state, feed, count):
        if count == at_once:
            return usual(state, feed)
        for _ in range(count):
            state, token = single(state, feed)
        return state, token

    return train_steps
