"""From a split to what steps read: opened on the devices, or streamed to them."""

from typing import Any

from jax.sharding import Mesh

from effnet_jax.data.device.feeds import Source
from effnet_jax.data.device.resident import ResidentSource
from effnet_jax.data.sets.splits import Split


def open_split(split: Any, mesh: Mesh) -> Source:
    """Opens a `Split`, which is copied to the devices, or an `EncodedSplit`, which is streamed to them."""
    if isinstance(split, Split):
        return ResidentSource(split, mesh)
    from effnet_jax.data.device.streamed import StreamedSource  # needs Grain

    return StreamedSource(split, mesh)
