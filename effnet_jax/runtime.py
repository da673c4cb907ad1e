"""Setting up the process before JAX loads: allocator and compilation cache. Imports no JAX."""

import ctypes
import os
import pathlib
import platform
import sys

# "default" leaves the allocator alone; `prepare_process` sets it to "tuned" where it has tuned it.
ALLOCATOR_VARIABLE = "EFFNET_JAX_ALLOCATOR"
CACHE_VARIABLE = "EFFNET_JAX_CACHE"

# mallopt parameters (glibc, malloc.h)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def cache_root() -> pathlib.Path:
    """The folder for decoded data sets and compiled programs."""
    configured = os.environ.get(CACHE_VARIABLE)
    return pathlib.Path(configured).expanduser() if configured else pathlib.Path.home() / ".cache/effnet_jax"


def prepare_process() -> None:
    """Tunes the process for JAX on a CPU; call it before JAX is imported.

    * glibc gives large buffers back to the system after each step and faults them in again, which makes
      element-wise work several times slower; here it is told to keep them. One arena serves all threads.
    * Compiled programs are kept under `cache_root()`, so a second start of the same model compiles little.
      A `JAX_COMPILATION_CACHE_DIR` of the user's wins.
    """
    if "jax" in sys.modules:
        raise RuntimeError("prepare_process() must run before jax is imported")
    _keep_freed_memory()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_root() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _keep_freed_memory() -> None:
    if os.environ.get(ALLOCATOR_VARIABLE) == "default" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 64 << 20),
    ):
        libc.mallopt(parameter, value)
    os.environ[ALLOCATOR_VARIABLE] = "tuned"


def allocator_is_tuned() -> bool:
    """Whether `prepare_process` has told glibc to keep freed memory."""
    return os.environ.get(ALLOCATOR_VARIABLE) == "tuned"
