"""What the machine can do at best, measured here and now: the denominators of the other figures."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from effnet_jax.process import environment


def peaks(dtype: str) -> dict[str, float | str | dict]:
    """Measures this machine's matrix product and memory peaks.

    Returns:
      "flops": floating-point operations a second of the best of several square matrix products in `dtype`.
      "bytes": bytes a second of `a = b + c` on arrays far larger than any cache, reads and writes counted.
      "hardware", "versions", "commit": what it is.
    """
    on_cpu = jax.default_backend() == "cpu"
    sides = (1024, 2048) if on_cpu else (4096, 8192)
    flops = max(_product_rate(side, dtype) for side in sides)
    count = (64 if on_cpu else 512) << 20  # bytes of one array
    return {
        "flops": flops,
        "bytes": _sum_rate(count, dtype),
        "hardware": environment.hardware(),
        "versions": environment.versions(),
        "commit": environment.commit(),
    }


def _product_rate(side: int, dtype: str) -> float:
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    return 2 * side**3 / _best_seconds(jax.jit(lambda a, b: a @ b), a, a)


def _sum_rate(size: int, dtype: str) -> float:
    a = jnp.ones(size // jnp.dtype(dtype).itemsize, dtype)
    return 3 * size / _best_seconds(jax.jit(lambda a, b: a + b), a, 2 * a)


def _best_seconds(function: Callable, *args: jax.Array) -> float:
    jax.block_until_ready(function(*args))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        best = min(best, time.perf_counter() - started)
    return best
