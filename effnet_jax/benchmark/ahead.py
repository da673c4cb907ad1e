"""A training step compiled for accelerators that this machine has not, and what the compiler says of it.

The compilers come with JAX's CUDA plugin and with libtpu, and run on any machine once they are told what the
accelerator is like. They give the program as it would run: which operations become one kernel, what each reads and
writes, the memory of it all, what chips exchange. They give no times, and make no choice that is made by trying.
"""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
from jax.experimental import topologies

from effnet_jax.benchmark import traffic
from effnet_jax.benchmark.accelerators import ACCELERATORS, Accelerator
from effnet_jax.data.device import pipeline
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.sets import registry
from effnet_jax.models.channels import adapted_constants
from effnet_jax.models.registry import create_model
from effnet_jax.process import sharding, target
from effnet_jax.training.plan import Plan
from effnet_jax.training.program import Program

EXCHANGES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-")
SMALL = 2_000_000  # bytes: a GPU moves fewer in less time than it takes to start a kernel


def count(config: ml_collections.ConfigDict, accelerator: str) -> dict[str, int]:
    """Returns what the compiler says of one training step; arguments as for `compiled_step`.

    Returns:
      Of each chip: "kernels": operations of a step; "small": those of them that move less than `SMALL`; "bytes": read
      and written by all of them; "fixed": memory in bytes of state and data; "peak": that and what the step needs
      beside; "exchanges": what chips wait for each other for.
    """
    compiled = compiled_step(config, accelerator)
    memory, operations = compiled.memory_analysis(), traffic.operations(compiled.as_text())
    fixed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "kernels": sum(operation.times for operation in operations),
        "small": sum(operation.times for operation in operations if operation.bytes < SMALL),
        "bytes": sum(operation.times * operation.bytes for operation in operations),
        "exchanges": sum(operation.times for operation in operations if operation.kind.startswith(EXCHANGES)),
        "fixed": fixed,
        "peak": fixed + memory.temp_size_in_bytes,
    }


def compiled_step(config: ml_collections.ConfigDict, accelerator: str) -> jax.stages.Compiled:
    """Compiles one training step of a config, augmentation included.

    Args:
      config: of a run on a data set that `data.sets.registry` knows; nothing of its images is read.
      accelerator: one of `ACCELERATORS`.
    """
    platform = ACCELERATORS[accelerator].platform
    mesh = sharding.data_mesh(_devices(ACCELERATORS[accelerator]))
    with config.unlocked():
        config.steps_per_dispatch = 1  # a loop of several is counted as one operation
    info = registry.info(config.dataset.name)
    count = info.split_sizes["train"] - config.dataset.validation_examples
    model = create_model(**config.model.to_dict())
    plan = Plan.from_config(config, count, mesh.size)
    mean, std = (adapted_constants(values, model.architecture.in_channels) for values in (info.mean, info.std))
    with target.tracing_for(platform, mesh):
        program = Program.of(config, model, plan, Preprocess(config.dataset.resolution, mean, std), mesh)
        state = sharding.abstract_replicated(jax.eval_shape(program.state_from, {}), mesh)
        feed = _feed(config, info, count, mesh)
        one = jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding.replicated(mesh))
        return program.train_steps.trace(state, feed, one).lower(lowering_platforms=(platform,)).compile()


def _devices(accelerator: Accelerator) -> Sequence[jax.Device]:
    """Its chips, to compile for."""
    if accelerator.platform == "tpu":
        # Otherwise libtpu looks for the machine's own chips, which one process at a time may have.
        os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
        return topologies.get_topology_desc(platform="tpu", topology_name=accelerator.topology).devices
    # What is chosen by trying needs the GPU.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()
    return topologies.get_topology_desc(
        platform=accelerator.platform, topology=accelerator.topology, target_config=accelerator.target
    ).devices


def _feed(
    config: ml_collections.ConfigDict, info: registry.DatasetInfo, count: int, mesh: jax.sharding.Mesh
) -> pipeline.Feed:
    """The shapes of what a step reads: the whole split on the device, or the batch that the host sends."""

    def images(number: int, height: int, width: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((number, height, width, 3), jnp.uint8)

    def whole(number: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((number,), jnp.int32)

    if info.image_size:
        split = pipeline.ResidentSplit(images(count, *info.image_size), whole(count))
        return sharding.abstract_replicated(pipeline.ResidentFeed(split, whole(count)), mesh)
    size, side = config.batch_size, config.dataset.image_size or config.dataset.resolution
    mask = jax.ShapeDtypeStruct((size,), bool)
    batch = pipeline.StreamedBatch(images(size, side, side), whole(size), mask)
    split = sharding.batch_sharded(mesh)
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=split), batch)
