"""How this process was called: by a script, as a module, or as the installed command. Imports no JAX."""

import pathlib
import shlex
import sys

COMMAND = "effnet-jax"
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def words() -> list[str]:
    """Returns what was called, without its arguments.

    `["python", "scripts/train.py"]`, the script named from the root of the checkout; `["python", "-m", "effnet_jax"]`
    or `["effnet-jax"]`, whose first argument is the name of a program.
    """
    called = pathlib.Path(sys.argv[0]).resolve()
    if called == _PACKAGE / "__main__.py":
        return ["python", "-m", _PACKAGE.name]
    if called.stem == COMMAND:  # .exe on Windows
        return [COMMAND]
    root = _PACKAGE.parent
    return ["python", str(called.relative_to(root)) if called.is_relative_to(root) else called.name]


def of_program(name: str) -> str:
    """Returns the words that call the program `name` in the way in which this process was called."""
    called = words()
    return " ".join(called if called[-1].endswith(".py") else [*called, name])


def command() -> str:
    """Returns the command line of this process, as a result keeps it."""
    return shlex.join([*words(), *sys.argv[1:]])
