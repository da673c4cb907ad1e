"""The platform and devices that a program is traced for, where a choice cannot wait until the program is lowered.

`jax.lax.platform_dependent` chooses between formulations when a program is lowered, and is what to use where both have
the same arguments and results. Where they have not, the choice is made here, so that a machine without a GPU can
trace, and compile, the program of one.
"""

import contextlib
from collections.abc import Iterator

import jax
from jax.sharding import Mesh

from effnet_jax.process import sharding

_traced_for: str | None = None
_mesh: Mesh | None = None


def is_cpu() -> bool:
    """Whether what is traced now will run on a CPU: JAX's own platform, but inside of `tracing_for`."""
    return (_traced_for or jax.default_backend()) == "cpu"


def mesh() -> Mesh:
    """The devices that share a batch: all of all processes, but inside of `tracing_for`."""
    return _mesh or sharding.data_mesh()


def device_count() -> int:
    """How many devices share an array: those of `mesh`, or one where `jax.shard_map` traces what each has by itself."""
    if jax.sharding.get_abstract_mesh().manual_axes:
        return 1
    return _mesh.size if _mesh else jax.device_count()


@contextlib.contextmanager
def tracing_for(platform: str, devices: Mesh | None = None) -> Iterator[None]:
    """A block in which programs are traced for devices of "cuda" or "tpu" whatever this machine has.

    JAX keeps traces: a process that traced something for its own platform must not trace it again for another.
    """
    global _traced_for, _mesh
    before, (_traced_for, _mesh) = (_traced_for, _mesh), (platform, devices)
    try:
        yield
    finally:
        _traced_for, _mesh = before
