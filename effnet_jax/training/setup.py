"""From a config to the parts of a run: data on the device, model, jitted steps."""

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

from effnet_jax import environment, sharding
from effnet_jax.architecture import Counts
from effnet_jax.data import datasets, pipeline
from effnet_jax.data.augment.augmentation import Augmentation
from effnet_jax.data.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models.registry import create_model
from effnet_jax.training.evaluation import Evaluator, load_dataset
from effnet_jax.training.freezing import Freezing, Path
from effnet_jax.training.optimizer import learning_rate_schedule, make_optimizer
from effnet_jax.training.plan import Plan
from effnet_jax.training.rates import learning_rate_factors, scaled
from effnet_jax.training.state import TrainState, create_state, empty_metrics, init_variables
from effnet_jax.training.step import make_update
from effnet_jax.training.transfer import Origin

# Initialisation runs once but holds a random generator for each kernel, which takes XLA's full optimisation
# longer to compile than the training step of a small model.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}

# (state, training split, order of the epoch, number of updates) -> (state, a small array to wait for)
TrainSteps = Callable[[TrainState, pipeline.ResidentSplit, jax.Array, int], tuple[TrainState, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Everything a run needs and nothing that it changes.

    Attributes:
      plan: when things happen.
      splits: "train", "validation" and "test", on the device.
      schedule: learning rate by step.
      order: epoch -> the order int32 [train count] of its examples.
      state_from: makes the state of step 0 of the variables that are taken over.
      kept: those variables by path; empty where all are initialised.
      zero_metrics: makes empty metric sums.
      train_steps: runs a number of updates; donates the state.
      evaluate: (variables, split) -> figures.
      description: what makes a checkpoint self-describing; see checkpoint.py.
      counts: parameters and MACs.
      mesh: the devices.
      notes: what the start of the run should say about its weights.
    """

    plan: Plan
    splits: dict[str, pipeline.ResidentSplit]
    schedule: optax.Schedule
    order: Callable[[int], jax.Array]
    state_from: Callable[[dict[Path, np.ndarray]], TrainState]
    kept: dict[Path, np.ndarray]
    zero_metrics: Callable[[], dict[str, jax.Array]]
    train_steps: TrainSteps
    evaluate: Evaluator
    description: dict[str, Any]
    counts: Counts
    mesh: jax.sharding.Mesh
    notes: tuple[str, ...]

    def fresh_state(self) -> TrainState:
        """Makes the state of step 0."""
        return self.state_from(self.kept)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state, without making one."""
        place = lambda leaf: jax.ShapeDtypeStruct(  # noqa: E731
            leaf.shape, leaf.dtype, sharding=sharding.replicated(self.mesh)
        )
        return jax.tree.map(place, jax.eval_shape(self.state_from, self.kept))


def build(config: ml_collections.ConfigDict) -> Setup:
    """Loads the data and builds the model and its jitted functions.

    Raises:
      UserError: the config and the data do not fit each other or the devices.
    """
    origin = Origin.load(config.init_from) if config.init_from else None
    options = origin.model_options(config.model) if origin else config.model.to_dict()
    model = create_model(**options)
    _check_final_map(model, config)
    mesh = sharding.data_mesh()
    data = load_data(config)
    plan = Plan.from_config(config, len(data.splits["train"].labels), mesh.size)
    init_key, order_key, augment_key, update_key = jax.random.split(jax.random.key(config.seed), 4)
    seen = origin.preprocess if origin else data.info  # weights go with the normalisation they were trained with
    preprocess = Preprocess(config.dataset.resolution, seen.mean, seen.std)
    pipe = pipeline.Pipeline(mesh, preprocess, Augmentation.from_config(config.augment), config.model.num_classes)
    splits = {name: pipeline.to_device(split, mesh) for name, split in data.splits.items()}
    num_mixed_steps = round(config.augment.mix_until * plan.num_train_steps)
    schedule = learning_rate_schedule(
        config.optimizer,
        batch_size=plan.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        num_train_steps=plan.num_train_steps,
    )
    initialise = functools.partial(init_variables, model, init_key, config.dataset.resolution)
    shapes = jax.eval_shape(initialise)
    kept = origin.kept(shapes, data.class_names, options) if origin else {}
    factors = learning_rate_factors(config.optimizer.learning_rate_factors, shapes["params"])
    freezing = Freezing.of(model, shapes, (path for path, factor in factors.items() if not factor))
    tx = scaled(make_optimizer(config.optimizer, schedule, shapes["batch_stats"]), factors)
    update = make_update(
        model,
        tx,
        update_key,
        label_smoothing=config.label_smoothing,
        ema_decay=config.ema_decay,
        accumulation_steps=config.optimizer.accumulation_steps,
        freezing=freezing,
    )

    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh), compiler_options=QUICK_COMPILE)
    def state_from(kept: dict[Path, jax.Array]) -> TrainState:
        variables = unflatten_dict(flatten_dict(initialise()) | kept)
        return create_state(variables, tx, ema=config.ema_decay > 0, freezing=freezing)

    notes = origin.describe(model, data.class_names) if origin else []
    return Setup(
        plan=plan,
        splits=splits,
        schedule=schedule,
        order=lambda epoch: pipeline.epoch_order(order_key, epoch, splits["train"].count),
        state_from=state_from,
        kept=kept,
        zero_metrics=jax.jit(empty_metrics, out_shardings=sharding.replicated(mesh)),
        train_steps=_train_steps(update, pipe, plan, augment_key, num_mixed_steps),
        evaluate=Evaluator(model, pipe, config.eval_batch_size),
        description={
            "model": options,
            "preprocess": dataclasses.asdict(preprocess),
            "class_names": list(data.class_names),
            "config": config.to_dict(),
            "versions": environment.versions(),
        },
        counts=model.architecture.count(config.dataset.resolution, config.model.num_classes),
        mesh=mesh,
        notes=(*notes, *freezing.describe(shapes["params"])),
    )


def load_data(config: ml_collections.ConfigDict) -> datasets.Dataset:
    """Loads the data set that a config names.

    Raises:
      UserError: it cannot be had, or `model.num_classes` is not its number of classes.
    """
    name, count = config.dataset.name, datasets.num_classes(config.dataset.name)
    if count != config.model.num_classes:
        raise UserError(
            f"config.model.num_classes is {config.model.num_classes} but {name} has {count} classes; "
            f"set --config.model.num_classes={count}"
        )
    return load_dataset(config.dataset)


def _check_final_map(model: nn.Module, config: ml_collections.ConfigDict) -> None:
    if model.architecture.final_map(config.dataset.resolution) <= 1 and not config.model.allow_1x1_map:
        raise UserError(
            f"at {config.dataset.resolution} px this model's head map is 1x1, which trains badly: lower "
            "config.model.stem_stride and stage_strides, raise config.dataset.resolution, or set "
            "--config.model.allow_1x1_map=True"
        )


def _train_steps(
    update: Callable[[TrainState, pipeline.Batch], TrainState],
    pipe: pipeline.Pipeline,
    plan: Plan,
    augment_key: jax.Array,
    num_mixed_steps: int,
) -> TrainSteps:
    def one_step(state: TrainState, split: pipeline.ResidentSplit, order: jax.Array) -> TrainState:
        position = state.step % plan.steps_per_epoch * plan.batch_size
        indices = jax.lax.dynamic_slice(order, (position,), (plan.batch_size,))
        key = jax.random.fold_in(augment_key, state.step)
        return update(state, pipe.train_batch(split, indices, key, state.step < num_mixed_steps))

    def steps(state, split, order, count):
        if plan.steps_per_dispatch == 1:
            state = one_step(state, split, order)
        else:
            state = jax.lax.fori_loop(0, count, lambda _, state: one_step(state, split, order), state)
        return state, state.metrics["count"]

    return jax.jit(steps, donate_argnums=0)
