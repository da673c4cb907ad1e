"""What a result was measured with: hardware, versions, commit and command."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess

import jax

import effnet_jax
from effnet_jax.process import invocation, processor

COMMIT_VARIABLE = "EFFNET_JAX_COMMIT"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def hardware() -> str:
    """Returns the devices in words, e.g. "1 x cpu (Intel Xeon, 2 cores)"."""
    devices = jax.devices()
    kind = f"cpu ({processor.describe()})" if devices[0].platform == "cpu" else devices[0].device_kind
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(devices)} x {kind}{processes}"


def versions() -> dict[str, str]:
    """Returns the versions of Python, of this project and of the libraries that shape a result."""
    found = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "effnet_jax": effnet_jax.__version__, **found}


def commit() -> str | None:
    """Returns the git commit of this checkout ("-dirty" with uncommitted changes), None outside of one.

    Where the files were copied from elsewhere, EFFNET_JAX_COMMIT says which commit they are of.
    """
    if told := os.environ.get(COMMIT_VARIABLE):
        return told
    root = pathlib.Path(effnet_jax.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def command() -> str:
    """Returns the command line of this process; see `invocation`."""
    return invocation.command()
