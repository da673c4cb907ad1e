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

from effnet_jax.architecture.description import Counts
from effnet_jax.data import datasets
from effnet_jax.data.device import feeds, pipeline, sources
from effnet_jax.data.device.augment.augmentation import Augmentation
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models.channels import adapted_constants
from effnet_jax.models.registry import create_model
from effnet_jax.process import environment, sharding, xla_flags
from effnet_jax.training.evaluation import Evaluator, load_dataset
from effnet_jax.training.freezing import Freezing, Path
from effnet_jax.training.optimizer import learning_rate_schedule, make_optimizer
from effnet_jax.training.plan import Plan
from effnet_jax.training.rates import learning_rate_factors, scaled
from effnet_jax.training.state import TrainState, create_state, empty_metrics, init_variables
from effnet_jax.training.statistics import Recomputation
from effnet_jax.training.step import make_update
from effnet_jax.training.transfer import Origin

# (state, what the steps read, number of updates) -> (state, a small array to wait for)
TrainSteps = Callable[[TrainState, pipeline.Feed, int], tuple[TrainState, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Everything a run needs and nothing that it changes.

    Attributes:
      plan: when things happen.
      splits: "train", "test" and, where images are held out to select by, "validation".
      schedule: learning rate by step.
      feeds: (updates done, what a checkpoint kept) -> what the updates from there on read.
      state_from: makes the state of step 0 of the variables that are taken over.
      kept: those variables by path, and the zeros of a new classifier; empty where all are initialised.
      zero_metrics: makes empty metric sums.
      train_steps: runs a number of updates; donates the state.
      evaluate: (several variables, split) -> figures of each.
      recompute: computes BatchNorm's statistics anew.
      description: what makes a checkpoint self-describing; see checkpoint.py.
      counts: parameters and MACs.
      mesh: the devices.
      notes: what the start of the run should say about its weights.
    """

    plan: Plan
    splits: dict[str, feeds.Source]
    schedule: optax.Schedule
    feeds: Callable[[int, feeds.State | None], feeds.Feeds]
    state_from: Callable[[dict[Path, np.ndarray]], TrainState]
    kept: dict[Path, np.ndarray]
    zero_metrics: Callable[[], dict[str, jax.Array]]
    train_steps: TrainSteps
    evaluate: Evaluator
    recompute: Recomputation
    description: dict[str, Any]
    counts: Counts
    mesh: jax.sharding.Mesh
    notes: tuple[str, ...]

    @property
    def selects(self) -> bool:
        """Whether a validation split chooses the checkpoint."""
        return "validation" in self.splits

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
    options = origin.completed(config.model.to_dict()) if origin else config.model.to_dict()
    model = create_model(**options)
    _check_final_map(model, config)
    mesh = sharding.data_mesh()
    data = load_data(config)
    plan = Plan.from_config(config, len(data.splits["train"].labels), mesh.size)
    init_key, order_key, augment_key, update_key = jax.random.split(jax.random.key(config.seed), 4)
    channels = model.architecture.in_channels
    seen = origin.preprocess if origin else data.info  # weights go with the normalisation they were trained with
    mean, std = (adapted_constants(values, channels) for values in (seen.mean, seen.std))
    preprocess = Preprocess(config.dataset.resolution, mean, std, data.crop_fraction)
    augment = Augmentation.from_config(config.augment)
    pipe = pipeline.Pipeline(mesh, preprocess.of_cut_images(), augment, config.model.num_classes)
    splits = {name: sources.open_split(split, mesh) for name, split in data.splits.items()}
    initialise = functools.partial(init_variables, model, init_key, config.dataset.resolution)
    shapes = jax.eval_shape(initialise)
    learning = _Learning.from_config(config, model, plan, shapes)
    num_mixed_steps = round(config.augment.mix_until * plan.num_train_steps)
    return Setup(
        plan=plan,
        splits=splits,
        schedule=learning.schedule,
        feeds=functools.partial(splits["train"].feeds, order_key, plan.batch_size),
        state_from=_state_from(config, mesh, initialise, learning),
        kept=origin.kept(shapes, origin.keeps_classifier(data.class_names), options) if origin else {},
        zero_metrics=jax.jit(empty_metrics, out_shardings=sharding.replicated(mesh)),
        train_steps=_train_steps(learning.update(config, model, update_key), pipe, plan, augment_key, num_mixed_steps),
        evaluate=Evaluator(model, pipe, config.eval_batch_size),
        recompute=Recomputation(
            model, pipe, splits["train"], plan.batch_size // config.optimizer.accumulation_steps, learning.freezing
        ),
        description={
            "model": options,
            "preprocess": dataclasses.asdict(preprocess),
            "class_names": list(data.class_names),
            "config": config.to_dict(),
            "versions": environment.versions(),
        },
        counts=model.architecture.count(config.dataset.resolution, config.model.num_classes),
        mesh=mesh,
        notes=(
            *(origin.describe(model, data.class_names) if origin else []),
            *learning.freezing.describe(shapes["params"]),
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Learning:
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
    ) -> "_Learning":
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
    config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, initialise: Callable[[], Any], learning: _Learning
) -> Callable[[dict[Path, np.ndarray]], TrainState]:
    # Holding a random generator for each kernel, it takes longer to optimise than the training step of a small model.
    quick = xla_flags.quick_compile()

    @functools.partial(jax.jit, out_shardings=sharding.replicated(mesh), compiler_options=quick)
    def state_from(kept: dict[Path, jax.Array]) -> TrainState:
        variables = unflatten_dict(flatten_dict(initialise()) | kept)
        return create_state(variables, learning.tx, ema=config.ema_decay > 0, freezing=learning.freezing)

    return state_from


def load_data(config: ml_collections.ConfigDict) -> datasets.Dataset:
    """Loads the data set that a config names.

    Raises:
      UserError: it cannot be had, or `model.num_classes` is not its number of classes.
    """
    name, places = config.dataset.name, (config.dataset.data_dir, config.dataset.manual_dir)
    count = datasets.num_classes(name, *places, config.dataset.broken_images)
    if count != config.model.num_classes:
        raise UserError(
            f"config.model.num_classes is {config.model.num_classes} but {name} has {count} classes; "
            f"set --config.model.num_classes={count}"
        )
    if config.steps_per_dispatch > 1 and datasets.streams(name, config.dataset.streaming, *places):
        raise UserError(f"{name} is streamed batch by batch; set --config.steps_per_dispatch=1")
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
    def one_step(state: TrainState, feed: pipeline.Feed) -> TrainState:
        key = jax.random.fold_in(augment_key, state.step)
        mixed = state.step < num_mixed_steps
        return update(state, pipe.train_batch(feed, state.step, plan.batch_size, key, mixed))

    def steps(state, feed, count):
        if plan.steps_per_dispatch == 1:
            state = one_step(state, feed)
        else:
            state = jax.lax.fori_loop(0, count, lambda _, state: one_step(state, feed), state)
        return state, state.metrics["count"]

    # Whole on every device, so that each process can save it.
    return jax.jit(steps, donate_argnums=0, out_shardings=sharding.replicated(pipe.mesh))
