"""Accelerators whose compilers can be asked without one: what they are. Imports no JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One chip, or several that work as one.

    Attributes:
      platform: "cuda" or "tpu".
      package: what the compiler comes with.
      environment: the make target that installs it.
      topology: how JAX names chips and their arrangement.
      target: a data sheet, where the compiler wants one.
      memory: of a chip, in bytes.
      share: the part of it that JAX takes unless it is told otherwise.
      chips: how many.
    """

    platform: str
    package: str
    environment: str
    topology: str
    memory: int
    share: float
    chips: int = 1
    target: str = ""


# Of the H100 SXM, in the form of XLA's GpuTargetConfigProto.
_H100 = """
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


def _v5e(topology: str, chips: int) -> Accelerator:
    return Accelerator("tpu", "libtpu", "tpu-count", f"v5e:{topology}", memory=16 << 30, share=1, chips=chips)


ACCELERATORS = {
    "h100": Accelerator("cuda", "jax-cuda12-plugin", "gpu-count", "1x1x1", 84_929_347_584, 0.75, target=_H100),
    "v5e": _v5e("1x1", 1),
    "v5e:2x2": _v5e("2x2", 4),
}
