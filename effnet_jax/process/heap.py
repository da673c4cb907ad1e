"""The heap of the process under glibc: what it keeps, and how it is left when the steps of a program begin.

XLA takes the memory of a step from the heap and gives it back, step by step. Imports no JAX.
"""

import ctypes
import os
import platform

# "default" leaves the allocator alone; `tune` sets it to "tuned" where it has tuned it.
ALLOCATOR_VARIABLE = "EFFNET_JAX_ALLOCATOR"

# mallopt parameters (glibc, malloc.h) and an advice to the kernel (Linux, mman.h)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MADV_HUGEPAGE, _MADV_DONTNEED = 14, 4
# Which free pieces `tidy` takes out of use, in bytes: all but those large ones that a step wants back.
_SMALLEST_PIECE, _SMALLEST_BUFFER = 16, 64 << 20
# What it sets aside for the workspaces of a step's operations, in bytes: B0's training at 224 has 9 MB of them at once.
_WORKSPACES = 32 << 20
# What is out of use: the last piece, which holds the address of the one before, and so on. A list of them would itself
# take from the heap, and leave holes as it grows.
_last_taken: int | None = None


class _Statistics(ctypes.Structure):
    """glibc's `struct mallinfo2`: `fordblks` bytes are free, `keepcost` of them at the end of the heap."""

    _fields_ = (("other", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


class _Heap:
    """The functions of glibc that are used here, with their types."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self.mallopt = libc.mallopt
        self.statistics = getattr(libc, "mallinfo2", None)  # glibc 2.33
        if self.statistics:
            self.statistics.restype = _Statistics
        self.allocate, self.free = libc.malloc, libc.free
        self.allocate.argtypes, self.allocate.restype = (ctypes.c_size_t,), ctypes.c_void_p
        self.free.argtypes, self.free.restype = (ctypes.c_void_p,), None
        self._sbrk, self._madvise = libc.sbrk, libc.madvise
        self._sbrk.argtypes, self._sbrk.restype = (ctypes.c_ssize_t,), ctypes.c_void_p
        self._madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        self.page = os.sysconf("SC_PAGE_SIZE")

    def end(self) -> int:
        """The address from which on the heap is free."""
        return self._sbrk(0) - self.statistics().keepcost

    def advise(self, address: int, size: int, advice: int) -> None:
        """Tells the kernel about the whole pages in a piece of memory."""
        start, stop = -(-address // self.page) * self.page, (address + size) // self.page * self.page
        if stop > start:
            self._madvise(start, stop - start, advice)


def tune() -> None:
    """Tells glibc to keep what is freed, in one heap for all threads, and the kernel to use huge pages for it."""
    if os.environ.get(ALLOCATOR_VARIABLE) == "default" or platform.libc_ver()[0] != "glibc":
        return
    heap = _Heap()
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, -1),  # never; a number would have to fit an int, and two steps' buffers exceed 2 GB
        (_M_TOP_PAD, 64 << 20),
    ):
        heap.mallopt(parameter, value)
    # Huge pages mean fewer faults and fewer misses of the address cache. Reserving memory where the heap will grow, and
    # freeing it again, touches none; the addresses stay the heap's.
    size = heap.page * os.sysconf("SC_PHYS_PAGES") // 2
    if reserved := heap.allocate(size):
        heap.advise(reserved, size, _MADV_HUGEPAGE)
        heap.free(reserved)
    os.environ[ALLOCATOR_VARIABLE] = "tuned"


def is_tuned() -> bool:
    """Whether `tune` has told glibc to keep freed memory."""
    return os.environ.get(ALLOCATOR_VARIABLE) == "tuned"


def reusable() -> int:
    """Returns the bytes that are free in a tuned heap, which the system counts as used."""
    statistics = _Heap().statistics if is_tuned() else None
    return statistics().fordblks if statistics else 0


def tidy() -> None:
    """Makes a tuned heap ready for the steps of a compiled program; call it after compiling.

    * LLVM leaves some hundred thousand free pieces (B0's training step: 0.9 GB). Each matrix product of a step asks
      for a workspace, and glibc searches their lists for it under one lock while the other threads wait; each task
      asks for a few bytes, and gets those freed the longest ago, which no cache holds. A step at 224 pixels takes 1.25
      times as long because of the former, any by 3 to 4 % because of the latter. So the pieces are taken out of use,
      and their pages go back to the system.
    * A workspace comes from the smallest free piece that holds it. Where that is the memory of the step before, the
      next step no longer fits there and takes new pages, which costs as much as one to four steps. One piece,
      smaller than that memory and between two that stay allocated, is therefore kept free for workspaces.
    """
    if not is_tuned() or not (heap := _Heap()).statistics:
        return
    end = heap.end()

    def take(size: int) -> int | None:
        piece = heap.allocate(size)
        if piece and piece < end:
            return piece
        heap.free(piece)
        return None

    buffers = []
    while buffer := take(_SMALLEST_BUFFER):  # there is one; take the largest, and all of it
        heap.free(buffer)
        fits, too_large = _SMALLEST_BUFFER, heap.statistics().fordblks
        while too_large - fits > _SMALLEST_PIECE:  # a step that fitted by a few bytes is to fit again
            size = (fits + too_large) // 2
            if piece := take(size):
                heap.free(piece)
            fits, too_large = (size, too_large) if piece else (fits, size)
        buffers.append(take(fits))
    size = _SMALLEST_BUFFER
    while (size := size // 2) >= _SMALLEST_PIECE:
        while piece := take(size):
            heap.advise(piece, size, _MADV_DONTNEED)
            _keep(piece)
    before, workspaces, after = (heap.allocate(size) for size in (heap.page, _WORKSPACES, heap.page))
    for piece in (workspaces, *buffers):
        heap.free(piece)
    _keep(before)
    _keep(after)


def _keep(piece: int) -> None:
    global _last_taken
    _address_in(piece).value, _last_taken = _last_taken, piece


def _address_in(piece: int) -> ctypes.c_void_p:
    return ctypes.c_void_p.from_address(piece)


def release() -> None:
    """Gives back what `tidy` took out of use; call it before the next program is compiled, which can use it."""
    global _last_taken
    free = _Heap().free if _last_taken else None
    while _last_taken:
        piece, _last_taken = _last_taken, _address_in(_last_taken).value
        free(piece)
