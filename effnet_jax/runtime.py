"""The process around JAX: allocator, compilation cache, how far the host runs ahead. Imports no JAX."""

import ctypes
import gc
import os
import pathlib
import platform
import sys

# "default" leaves the allocator alone; `prepare_process` sets it to "tuned" where it has tuned it.
ALLOCATOR_VARIABLE = "EFFNET_JAX_ALLOCATOR"
CACHE_VARIABLE = "EFFNET_JAX_CACHE"

# Programs of training or evaluation that may be queued on the device beside the running one: enough to keep it busy,
# few enough to stop soon when asked. On a CPU each takes its whole working memory when it is queued.
MAX_QUEUED_DISPATCHES = 1

# New objects before the first generation is searched, and searches before the next one's; Python has 700, 10, 10.
_GARBAGE_THRESHOLDS = 20_000, 10, 10

_VECTOR_WIDTH = "xla_cpu_prefer_vector_width"
_EXTRA_OPTIONS, _LOOP_BYTES = "xla_backend_extra_options", "xla_cpu_small_while_loop_byte_threshold"
# mallopt parameters (glibc, malloc.h) and an advice to the kernel (Linux, mman.h)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE, _MADV_DONTNEED = 14, 4
# Which free pieces of the heap `tidy_heap` takes, in bytes; larger ones are buffers that a step wants back.
_SMALLEST_FRAGMENT, _SMALLEST_BUFFER = 2 << 10, 64 << 20
# What it sets aside for the workspaces of a step's operations, in bytes: B0's training at 224 has 9 MB of them at once.
_WORKSPACES = 32 << 20


def cache_root() -> pathlib.Path:
    """The folder for decoded data sets and compiled programs."""
    configured = os.environ.get(CACHE_VARIABLE)
    return pathlib.Path(configured).expanduser() if configured else pathlib.Path.home() / ".cache/effnet_jax"


def prepare_process() -> None:
    """Tunes the process for JAX on a CPU; call it before JAX is imported.

    * glibc gives large buffers back to the system after each step and faults them in again, which makes
      element-wise work several times slower; here it is told to keep them, and the kernel to use huge pages
      for them. One arena serves all threads.
    * Where the processor has AVX-512, XLA is told to use all of it: LLVM would stop at half the width.
      An XLA_FLAGS of the user's that names the option wins.
    * A loop whose body is plain arithmetic becomes one kernel, as XLA makes of loops over a kilobyte: a step then
      costs no calls, which were most of the time of a depthwise filter gradient. The same holds for XLA_FLAGS.
    * Compiled programs are kept under `cache_root()`, so a second start of the same model compiles little.
      A `JAX_COMPILATION_CACHE_DIR` of the user's wins.
    * Python looks for cycles of garbage less often. Tracing makes tens of thousands of small objects that stay, and
      looking through them again and again took a fifth of it.
    """
    if "jax" in sys.modules:
        raise RuntimeError("prepare_process() must run before jax is imported")
    _keep_freed_memory()
    _use_wide_vectors()
    _make_kernels_of_loops()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_root() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _keep_freed_memory() -> None:
    if os.environ.get(ALLOCATOR_VARIABLE) == "default" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, -1),  # never; a number would have to fit an int, and two steps' buffers exceed 2 GB
        (_M_TOP_PAD, 64 << 20),
    ):
        libc.mallopt(parameter, value)
    _advise_huge_pages(libc)
    os.environ[ALLOCATOR_VARIABLE] = "tuned"


def _advise_huge_pages(libc: ctypes.CDLL) -> None:
    """Asks for huge pages where the heap will grow: fewer faults, fewer misses of the address cache.

    Reserving that much and freeing it again touches no memory; the addresses stay the heap's.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    size = page * os.sysconf("SC_PHYS_PAGES") // 2
    libc.malloc.restype = ctypes.c_void_p
    reserved = libc.malloc(ctypes.c_size_t(size))
    if reserved:
        start = -(-reserved // page) * page
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(reserved + size - start), _MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(reserved))


class _HeapStatistics(ctypes.Structure):
    """glibc's `struct mallinfo2`: `fordblks` bytes are free, `keepcost` of them at the end of the heap."""

    _fields_ = (("other", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


def tidy_heap() -> None:
    """Makes a tuned heap ready for the steps of a compiled program; call it after compiling.

    * LLVM leaves some hundred thousand free pieces (B0's training step: 0.9 GB). Each matrix product of a step asks
      for a workspace, and glibc searches their lists for it under one lock while the other threads wait: 1.25 times
      the time of a step at 224 pixels. They stay allocated for good, and their pages go back to the system.
    * A workspace comes from the smallest free piece that holds it. Where that is the memory of the step before, the
      next step no longer fits there and takes new pages, which costs as much as one to four steps. One piece,
      smaller than that memory and between two that stay allocated, is therefore kept free for workspaces.
    """
    libc = ctypes.CDLL(None)
    if not allocator_is_tuned() or not hasattr(libc, "mallinfo2"):
        return
    libc.mallinfo2.restype = _HeapStatistics
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    heap = libc.mallinfo2()
    end = libc.sbrk(ctypes.c_ssize_t(0)) - heap.keepcost

    def take(size: int) -> int | None:
        piece = libc.malloc(ctypes.c_size_t(size))
        if piece and piece < end:
            return piece
        libc.free(ctypes.c_void_p(piece))
        return None

    page = os.sysconf("SC_PAGE_SIZE")
    buffers = []
    while buffer := take(_SMALLEST_BUFFER):  # there is one; take the largest, and all of it
        libc.free(ctypes.c_void_p(buffer))
        fits, too_large = _SMALLEST_BUFFER, heap.fordblks
        while too_large - fits > page:
            size = (fits + too_large) // 2
            if piece := take(size):
                libc.free(ctypes.c_void_p(piece))
            fits, too_large = (size, too_large) if piece else (fits, size)
        buffers.append(take(fits))
    size = _SMALLEST_BUFFER
    while (size := size // 2) >= _SMALLEST_FRAGMENT:
        while piece := take(size):
            start, stop = -(-piece // page) * page, (piece + size) // page * page
            if stop > start:
                libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED)
    _, workspaces, _ = (libc.malloc(ctypes.c_size_t(size)) for size in (page, _WORKSPACES, page))
    for piece in (workspaces, *buffers):
        libc.free(ctypes.c_void_p(piece))


def select_platform(platform_name: str) -> None:
    """Makes JAX and torch, in this process and its children, use "cpu", "gpu" or "tpu"."""
    os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform_name, platform_name)
    if platform_name == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _use_wide_vectors() -> None:
    processor = pathlib.Path("/proc/cpuinfo")
    if processor.exists() and "avx512f" in processor.read_text():
        _set_xla_flag(_VECTOR_WIDTH, "512")


def _make_kernels_of_loops() -> None:
    _set_xla_flag(_EXTRA_OPTIONS, f"{_LOOP_BYTES}={1 << 40}")


def _set_xla_flag(name: str, value: str) -> None:
    """Adds a flag to XLA_FLAGS, unless the user has set it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if name not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{name}={value}".strip()


def loops_are_kernels() -> bool:
    """Whether XLA:CPU has been told to compile loops of plain arithmetic to one kernel each, whatever their size."""
    return _LOOP_BYTES in os.environ.get("XLA_FLAGS", "")


def allocator_is_tuned() -> bool:
    """Whether `prepare_process` has told glibc to keep freed memory."""
    return os.environ.get(ALLOCATOR_VARIABLE) == "tuned"
