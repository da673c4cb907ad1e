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

from effnet_jax.architecture.counting import Counts
from effnet_jax.data import datasets
from effnet_jax.data.device import feeds, sources
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.errors import UserError
from effnet_jax.models.channels import adapted_constants
from effnet_jax.models.registry import create_model
from effnet_jax.process import environment, sharding
from effnet_jax.training.evaluation import Evaluator, load_dataset
from effnet_jax.training.freezing import Path
from effnet_jax.training.plan import Plan
from effnet_jax.training.program import Program, TrainSteps
from effnet_jax.training.state import TrainState, empty_metrics
from effnet_jax.training.statistics import Recomputation
from effnet_jax.training.transfer import Origin


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
        return sharding.abstract_replicated(jax.eval_shape(self.state_from, self.kept), self.mesh)


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
    seen = origin.preprocess if origin else data.info  # weights go with the normalisation they were trained with
    channels = model.architecture.in_channels
    mean, std = (adapted_constants(values, channels) for values in (seen.mean, seen.std))
    preprocess = Preprocess(config.dataset.resolution, mean, std, data.crop_fraction)
    program = Program.of(config, model, plan, preprocess, mesh)
    splits = {name: sources.open_split(split, mesh) for name, split in data.splits.items()}
    shapes = program.shapes
    return Setup(
        plan=plan,
        splits=splits,
        schedule=program.learning.schedule,
        feeds=functools.partial(splits["train"].feeds, program.order_key, plan.batch_size),
        state_from=program.state_from,
        kept=origin.kept(shapes, origin.keeps_classifier(data.class_names), options) if origin else {},
        zero_metrics=jax.jit(empty_metrics, out_shardings=sharding.replicated(mesh)),
        train_steps=program.train_steps,
        evaluate=Evaluator(model, program.pipe, config.eval_batch_size),
        recompute=Recomputation(
            model,
            program.pipe,
            splits["train"],
            plan.batch_size // config.optimizer.accumulation_steps,
            program.learning.freezing,
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
            *program.learning.freezing.describe(shapes["params"]),
        ),
    )


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
