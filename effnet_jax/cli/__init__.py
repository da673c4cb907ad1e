"""What the programs share: options, help, one-line errors, exit codes."""

from effnet_jax.cli.exits import EXIT_BAD_INPUT, EXIT_OK, EXIT_SOME_INPUTS_FAILED, execute, fail
from effnet_jax.cli.options import (
    ClusterFlags,
    Program,
    StudyFlags,
    checkpoint,
    config,
    data_dir,
    loaded,
    refuse,
    weights,
    workdir,
)
from effnet_jax.cli.start import prepare, run, wants_help

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_OK",
    "EXIT_SOME_INPUTS_FAILED",
    "ClusterFlags",
    "Program",
    "StudyFlags",
    "checkpoint",
    "config",
    "data_dir",
    "execute",
    "fail",
    "loaded",
    "prepare",
    "refuse",
    "run",
    "wants_help",
    "weights",
    "workdir",
]
