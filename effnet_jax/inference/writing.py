"""Imported weights as a checkpoint."""

import pathlib

from effnet_jax.errors import UserError
from effnet_jax.pretrained.importer import Imported
from effnet_jax.process import lock
from effnet_jax.training import checkpoint


def write(imported: Imported, folder: pathlib.Path) -> None:
    """Writes a checkpoint that every command of this project takes as `--checkpoint`.

    Raises:
      UserError: `folder` holds something already, cannot be made, or another process writes there.
    """
    with lock.hold_folder(folder, "importing weights into", "--output"):
        if any(path.name != lock.FILE for path in folder.iterdir()):
            raise UserError(f"{folder} is not empty; give another --output or remove it first")
        checkpoint.write(folder, imported.variables, imported.metadata)
