"""The process around JAX: XLA's options, compilation cache, how far the host runs ahead. Imports no JAX."""

import gc
import os
import sys

from effnet_jax.process import heap, processor, xla_flags
from effnet_jax.process.paths import cache_root

# Programs of training or evaluation that may be queued on the device beside the running one: enough to keep it busy,
# few enough to stop soon when asked. On a CPU each takes its whole working memory when it is queued.
MAX_QUEUED_DISPATCHES = 1

# New objects before the first generation is searched, and searches before the next one's; Python has 700, 10, 10.
_GARBAGE_THRESHOLDS = 20_000, 10, 10

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 3: fatal errors only
_VECTOR_WIDTH = "xla_cpu_prefer_vector_width"
_LOOP_BYTES = "xla_cpu_small_while_loop_byte_threshold"
LOOPS_ARE_KERNELS = {"xla_backend_extra_options": f"{_LOOP_BYTES}={1 << 40}"}  # XLA's flag for that


def prepare_process() -> None:
    """Tunes the process for JAX on a CPU; call it before JAX is imported.

    * glibc gives large buffers back to the system after each step and faults them in again, which makes
      element-wise work several times slower; here it is told to keep them, and the kernel to use huge pages
      for them. One arena serves all threads.
    * Where the processor has AVX-512, XLA is told to use all of it: LLVM would stop at half the width.
      An XLA_FLAGS of the user's that names the option wins.
    * A loop whose body is plain arithmetic becomes one kernel, as XLA makes of loops over a kilobyte: a step then
      costs no calls, which were most of the time of a depthwise filter gradient. The same holds for XLA_FLAGS.
    * A flag that the installed XLA does not know is left out, and stderr says so; see `xla_flags`.
    * Compiled programs are kept under `cache_root()`, so a second start of the same model compiles little; each kind of
      processor has a folder, since a home may be shared. A `JAX_COMPILATION_CACHE_DIR` of the user's wins.
    * XLA's alarms about slow compilation, a block of lines each, mean nothing on slow CPUs. To its log they are errors,
      so on CPUs only fatal ones are shown; what fails is raised all the same. TF_CPP_MIN_LOG_LEVEL of the user's wins.
    * Python looks for cycles of garbage less often. Tracing makes tens of thousands of small objects that stay, and
      looking through them again and again took a fifth of it.
    """
    if "jax" in sys.modules:
        raise RuntimeError("prepare_process() must run before jax is imported")
    heap.tune()
    xla_flags.add(_flags())
    if not accelerator_is_there():
        os.environ.setdefault(_LOG_LEVEL, "3")
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_root() / "compiled" / processor.digest()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def select_platform(platform_name: str) -> None:
    """Makes JAX and torch, in this process and its children, use "cpu", "gpu" or "tpu"."""
    os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform_name, platform_name)
    if platform_name == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def accelerator_is_there() -> bool:
    """Whether this machine has a GPU or TPU that JAX may use, told without starting JAX."""
    if os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return False
    return any(map(os.path.exists, ("/dev/nvidia0", "/dev/nvidiactl", "/dev/accel0", "/dev/vfio/0", "/dev/kfd")))


def _flags() -> dict[str, str]:
    flags = dict(LOOPS_ARE_KERNELS)
    if "avx512f" in processor.instructions():
        flags[_VECTOR_WIDTH] = "512"
    return flags


def loops_are_kernels() -> bool:
    """Whether XLA:CPU has been told to compile loops of plain arithmetic to one kernel each, whatever their size."""
    return _LOOP_BYTES in os.environ.get("XLA_FLAGS", "")
