"""Imported weights as a checkpoint."""

import pathlib

from effnet_jax.errors import UserError
from effnet_jax.pretrained.importer import Imported
from effnet_jax.training import checkpoint


def write(imported: Imported, folder: pathlib.Path) -> None:
    """Writes a checkpoint that every command of this project takes as `--checkpoint`.

    Raises:
      UserError: `folder` holds something already, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be made a folder ({error.strerror})") from error
    if occupied:
        raise UserError(f"{folder} is not empty; give another --output or remove it first")
    checkpoint.write(folder, imported.variables, imported.metadata)
