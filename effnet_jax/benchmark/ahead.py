"""A training step compiled for a GPU that this machine has not, and what the compiler says of it.

The compiler comes with JAX's CUDA plugin and runs on any machine once it is told what the GPU is like. It gives the
program as it would run: which operations become one kernel, what each reads and writes, the memory of it all. It gives
no times, and makes no choice that is made by trying.
"""

import os

import jax
import jax.numpy as jnp
import ml_collections
from jax.experimental import topologies

from effnet_jax.benchmark import traffic
from effnet_jax.data.device import pipeline
from effnet_jax.data.device.preprocess import Preprocess
from effnet_jax.data.sets import registry
from effnet_jax.models.channels import adapted_constants
from effnet_jax.models.registry import create_model
from effnet_jax.process import sharding, target
from effnet_jax.training.plan import Plan
from effnet_jax.training.program import Program

PLATFORM = "cuda"
# Data sheets in the form of XLA's GpuTargetConfigProto; that of the H100 SXM.
TARGETS = {
    "h100": """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
}
SMALL = 2_000_000  # bytes: a GPU moves fewer in less time than it takes to start a kernel


def count(config: ml_collections.ConfigDict, accelerator: str) -> dict[str, int]:
    """Returns what the compiler says of one training step; arguments as for `compiled_step`.

    Returns:
      "kernels": operations of a step; "small": those of them that move less than `SMALL`; "bytes": read and written by
      all of them; "fixed": memory in bytes of state and data; "peak": that and what the step needs beside.
    """
    compiled = compiled_step(config, accelerator)
    memory, operations = compiled.memory_analysis(), traffic.operations(compiled.as_text())
    fixed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "kernels": sum(operation.times for operation in operations),
        "small": sum(operation.times for operation in operations if operation.bytes < SMALL),
        "bytes": sum(operation.times * operation.bytes for operation in operations),
        "fixed": fixed,
        "peak": fixed + memory.temp_size_in_bytes,
    }


def compiled_step(config: ml_collections.ConfigDict, accelerator: str) -> jax.stages.Compiled:
    """Compiles one training step of a config, augmentation included.

    Args:
      config: of a run on a data set that `data.sets.registry` knows; nothing of its images is read.
      accelerator: one of `TARGETS`.
    """
    # What is chosen by trying needs the GPU.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()
    described = topologies.get_topology_desc(platform=PLATFORM, topology="1x1x1", target_config=TARGETS[accelerator])
    mesh = sharding.data_mesh(described.devices)
    with config.unlocked():
        config.steps_per_dispatch = 1  # a loop of several is counted as one operation
    info = registry.info(config.dataset.name)
    count = info.split_sizes["train"] - config.dataset.validation_examples
    model = create_model(**config.model.to_dict())
    plan = Plan.from_config(config, count, mesh.size)
    mean, std = (adapted_constants(values, model.architecture.in_channels) for values in (info.mean, info.std))
    with target.tracing_for(PLATFORM):
        program = Program.of(config, model, plan, Preprocess(config.dataset.resolution, mean, std), mesh)
        state = sharding.abstract_replicated(jax.eval_shape(program.state_from, {}), mesh)
        feed = _feed(config, info, count, mesh)
        one = jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding.replicated(mesh))
        return program.train_steps.trace(state, feed, one).lower(lowering_platforms=(PLATFORM,)).compile()


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
