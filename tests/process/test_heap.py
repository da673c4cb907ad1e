"""The heap of the process."""

import platform
import subprocess
import sys

import pytest

# Pinned pieces keep the free ones apart; one large free piece is what a step wants back.
FRAGMENTED = """
import ctypes
from effnet_jax.process import heap
heap.tune()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.mallinfo2.restype = heap._Statistics
malloc, free = lambda size: libc.malloc(ctypes.c_size_t(size)), lambda piece: libc.free(ctypes.c_void_p(piece))

def holes():  # in MB; the interpreter's own small requests make some KB of difference
    found = libc.mallinfo2()
    return (found.fordblks - found.keepcost) / 2**20

buffer = malloc(200 << 20)
pieces = [malloc(5000 + 700 * (n % 1000)) for n in range(400)] + [malloc(20 + n % 1500) for n in range(20_000)]
malloc(100)
for piece in pieces[::2]:
    ctypes.memset(piece, 1, 20)
    free(piece)
free(buffer)
before = holes()
heap.tidy()
after = holes()
assert before >= 227 and abs(after - (200 + 32)) < 1, (before, after)  # with those set aside for workspaces
assert malloc(200 << 20) == buffer, "the large piece is no longer free"
heap.release()
assert 200 + holes() > before - 1, "what was taken out of use is not back"
for piece in pieces[1::2]:
    free(piece)  # those in use were left alone
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is tuned on glibc only")
@pytest.mark.parametrize("allocator", ["tuned", "default"])
def test_fragments_are_retired_and_large_pieces_are_not(allocator, monkeypatch):
    monkeypatch.delenv("EFFNET_JAX_ALLOCATOR", raising=False)
    program = FRAGMENTED
    if allocator == "default":
        monkeypatch.setenv("EFFNET_JAX_ALLOCATOR", "default")
        program = program.replace("before >= 227 and abs(after - (200 + 32)) < 1", "abs(after - before) < 1")
        program = program.partition("assert malloc")[0]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


MEMORY = """
import ctypes
from effnet_jax.process import heap
heap.tune()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
malloc, free = lambda size: libc.malloc(ctypes.c_size_t(size)), lambda piece: libc.free(ctypes.c_void_p(piece))
step = malloc(100 << 20)
"""

WORKSPACES = """
malloc(100)
heap.tidy()
free(step)
workspaces = [malloc(size) for size in (4 << 20, 500_000, 100_000, 5_000)]
again = malloc(100 << 20)
assert (again == step) == EXPECTED, "where a step's memory has been"
"""

COMPILATION = """
pieces = [malloc(3000) for _ in range(60_000)]
malloc(100)
for piece in pieces[::2]:
    free(piece)
heap.tidy()
free(step)
heap.release()
for _ in range(25_000):  # no list of them, which would itself take from the heap
    malloc(2000)
heap.tidy()
again = malloc(100 << 20)
assert (again <= step) == EXPECTED, "where a step's memory has been"
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is tuned on glibc only")
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("taken", "by"), [(WORKSPACES, "heap.tidy()"), (COMPILATION, "heap.release()")], ids=["workspaces", "compilation"]
)
def test_the_memory_of_a_step_stays_whole(taken, by, whole, monkeypatch):
    monkeypatch.delenv("EFFNET_JAX_ALLOCATOR", raising=False)
    program = MEMORY + taken.replace("EXPECTED", str(whole))
    if not whole:  # the test would notice
        program = program.replace(by, "")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
