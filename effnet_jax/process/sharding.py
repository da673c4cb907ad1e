"""Data parallelism: one mesh axis over all devices of all processes."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a one-dimensional mesh "data" over `devices` (default: all devices of all processes)."""
    devices = jax.devices() if devices is None else devices
    axis_types = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((len(devices),), ("data",), axis_types=axis_types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The leading axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Places host arrays, whole, on every device; each process passes the same values."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tree)


def abstract_replicated(tree: Any, mesh: Mesh) -> Any:
    """Returns shapes and dtypes of arrays that lie whole on every device; `tree` has such arrays, or shapes."""
    place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh))  # noqa: E731
    return jax.tree.map(place, tree)
