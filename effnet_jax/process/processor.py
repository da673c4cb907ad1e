"""The processor, as Linux describes it; elsewhere as Python does. Imports no JAX."""

import os
import pathlib
import platform
import zlib

_INFO = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = ("flags", "Features")  # x86, ARM


def describe() -> str:
    """Returns the model and how many cores there are, and of them how many this process may use if not all."""
    names = _values("model name")
    if not names:
        return platform.processor() or platform.machine()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else len(names)
    cores = f"{usable} of {len(names)}" if usable < len(names) else f"{len(names)}"
    return f"{names[0]}, {cores} cores"


def instructions() -> frozenset[str]:
    """Returns the names of the sets of instructions that it has, such as "avx512f"; none where nobody says."""
    return frozenset(word for line in _values(*_INSTRUCTIONS)[:1] for word in line.split())


def digest() -> str:
    """Returns eight letters that are equal where compiled programs of one machine run on another."""
    sets = " ".join(sorted(instructions())) or f"{platform.machine()} {platform.processor()}"
    return f"{zlib.crc32(sets.encode()):08x}"


def _values(*keys: str) -> list[str]:
    if not _INFO.exists():
        return []
    pairs = (line.partition(":") for line in _INFO.read_text().splitlines())
    return [value.strip() for key, _, value in pairs if key.strip() in keys]
