"""Memory: what a compiled program needs, what there is, and one line where it is too little."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from effnet_jax.errors import UserError
from effnet_jax.process import heap

EXHAUSTED = "RESOURCE_EXHAUSTED"  # with which an error of XLA begins
_GIB = 2**30
_GROUP = pathlib.Path("/sys/fs/cgroup")  # of this process, as a container sees it


class TooLittle(UserError):
    """There is not enough memory."""


def check(compiled: Any, what: str, way_out: str) -> None:
    """Raises `TooLittle` where a program does not fit into memory, before it runs.

    Args:
      compiled: a `jax.stages.Compiled` whose arguments are there.
      what: it is: "a training step of 128 images".
      way_out: what needs less: "lower config.batch_size".
    """
    needed, free = needs(compiled), available()
    if needed is not None and free is not None and needed > free:
        raise TooLittle(
            f"{what} needs {needed / _GIB:.1f} GiB of memory beside its arguments, and {free / _GIB:.1f} GiB are free: "
            f"{way_out}"
        )


def needs(compiled: Any) -> int | None:
    """Returns the bytes that a program takes beside its arguments: on a device, on CPUs for all of them.

    None where the compiler does not say.
    """
    found = compiled.memory_analysis()
    if found is None:
        return None
    import jax

    one = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return one * (jax.local_device_count() if jax.default_backend() == "cpu" else 1)


def available() -> int | None:
    """Returns the bytes that are free on a device, for CPUs on the machine or in the container; None where unknown."""
    import jax

    found = jax.local_devices()[0].memory_stats()
    if found:
        return found["bytes_limit"] - found["bytes_in_use"] if "bytes_limit" in found else None
    limits = [free for free in (_of_the_machine(), _of_the_group()) if free is not None]
    return min(limits) + heap.reusable() if limits else None


@contextlib.contextmanager
def enough_for(what: str, way_out: str) -> Iterator[None]:
    """A block in which running out of memory raises `TooLittle`; arguments as in `check`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # JAX's are RuntimeErrors
        if not is_exhausted(error):
            raise
        raise TooLittle(f"{what} needs more memory than there is ({in_short(error)}): {way_out}") from error


def is_exhausted(error: BaseException) -> bool:
    """Whether an error means that there is too little memory."""
    return isinstance(error, MemoryError) or EXHAUSTED in str(error)


def in_short(error: BaseException) -> str:
    """Returns what it says, in one line."""
    lines = str(error).removeprefix(f"{EXHAUSTED}: ").splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _of_the_machine() -> int | None:
    """Free memory, what the system can give back and swap."""
    with contextlib.suppress(OSError):
        entries = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
        return 1024 * sum(int(entries[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    return None


def _of_the_group() -> int | None:
    """What the limit of a container leaves (cgroup 2); cached files can be given back."""
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        entries = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(entries["inactive_file"])
    return None
