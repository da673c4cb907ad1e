"""Where this project keeps what it can make again. Imports no JAX."""

import os
import pathlib

CACHE_VARIABLE = "EFFNET_JAX_CACHE"


def cache_root() -> pathlib.Path:
    """The folder for decoded data sets and compiled programs."""
    configured = os.environ.get(CACHE_VARIABLE)
    return pathlib.Path(configured).expanduser() if configured else pathlib.Path.home() / ".cache/effnet_jax"
