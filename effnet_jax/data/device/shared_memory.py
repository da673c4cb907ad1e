"""The shared memory through which data workers hand over their batches: whether it is enough, and what the dead left.

A block that a killed worker had made and nobody has read belongs to nobody: it would lie there until the program ends,
with a warning then. So the blocks of one set of workers carry a name, by which they are found.
"""

import contextlib
import pathlib
import secrets
import shutil
from collections.abc import Iterable
from multiprocessing import shared_memory

from effnet_jax.errors import UserError

_FOLDER = pathlib.Path("/dev/shm")


def check(num_workers: int, batches: int, batch_bytes: int) -> None:
    """Says in words what would kill workers without any: containers often have little shared memory.

    Args:
      num_workers: processes; none needs any.
      batches: so many a worker lie there at a time.
      batch_bytes: size of one.

    Raises:
      UserError: there is too little.
    """
    if not num_workers or not _FOLDER.is_dir():
        return
    needed, free = num_workers * batches * batch_bytes, shutil.disk_usage(_FOLDER).free
    if free < needed:
        raise UserError(
            f"{num_workers} workers hand over {needed / 2**20:,.0f} MiB of batches through {_FOLDER}, which "
            f"has {free / 2**20:,.0f} MiB free: give it more (docker: --shm-size), or set --config.dataset.num_workers "
            "lower, or to 0 for threads"
        )


def new_label() -> str:
    """Returns what the names of a set of workers' blocks begin with."""
    return f"ej_{secrets.token_hex(2)}_"  # Python leaves 10 characters for it, a slash included


def label_blocks(label: str) -> None:
    """Makes the names of all blocks that this process will create begin with `label`."""
    shared_memory._SHM_NAME_PREFIX = f"/{label}"  # the one way to name the blocks that Grain makes


def remove(labels: Iterable[str]) -> None:
    """Removes the blocks of these labels that are left. Nobody may need them any more."""
    for label in labels:
        for path in _FOLDER.glob(f"{label}*"):
            with contextlib.suppress(FileNotFoundError):
                block = shared_memory.SharedMemory(path.name)
                block.close()
                block.unlink()
