"""XLA's flags: only those that the installed XLA knows are set, because one that it does not know ends the process.

XLA drops flags from one release to the next and has no list of them to read, so a child process is started with them.
That takes two seconds, once for each version of jaxlib: the answer is kept under the cache root. Imports no JAX.
"""

import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from effnet_jax.errors import UserError
from effnet_jax.process import atomic, paths

VARIABLE = "XLA_FLAGS"

# XLA reads its flags when the first device is asked for. No accelerator is woken for that.
_CHILD = "import jax; jax.devices('cpu')"
_CHILD_SECONDS = 120

_NO_OPTIMISATION = {"xla_backend_optimization_level": 0}

_answers: dict[str, bool] = {}  # what this process has found out already


def add(flags: Mapping[str, Any]) -> list[str]:
    """Adds flags to XLA_FLAGS, but none that the user has set and none that the installed XLA does not know.

    What is left out is said on stderr. An XLA_FLAGS that names a file is left alone.

    Returns:
      The flags that this XLA does not know.
    """
    current = os.environ.get(VARIABLE, "").strip()
    if current and not current.startswith("-"):
        return []
    wanted = {name: value for name, value in flags.items() if name not in current}
    taken = known(wanted)
    os.environ[VARIABLE] = " ".join([*current.split(), *(f"--{name}={value}" for name, value in taken.items())])
    left_out = [name for name in wanted if name not in taken]
    if left_out and multiprocessing.parent_process() is None:  # once, not again in each worker
        names = ", ".join(left_out)
        print(f"effnet_jax: XLA of jaxlib {_version()} does not know {names}; left out", file=sys.stderr, flush=True)
    return left_out


def known(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those flags, or compiler options of the same names, that the installed XLA knows."""
    _find_out(flags)
    return {name: value for name, value in flags.items() if _answers[name]}


def quick_compile() -> dict[str, Any]:
    """Returns compiler options for a program that runs once: no optimisation, where this XLA can be told so."""
    return known(_NO_OPTIMISATION)


def _find_out(flags: Mapping[str, Any]) -> None:
    """Fills `_answers`: from the file of earlier processes, or else by asking."""
    if flags.keys() <= _answers.keys():
        return
    kept = paths.cache_root() / "xla_flags" / f"jaxlib-{_version()}.json"
    before = _read(kept)
    _answers.update({name: before[name] for name in flags if name in before and name not in _answers})
    open_questions = {name: value for name, value in flags.items() if name not in _answers}
    if not open_questions:
        return
    if _accepted([open_questions])[0]:
        found = dict.fromkeys(open_questions, True)
    else:
        works, *each = _accepted([{}, *({name: value} for name, value in open_questions.items())])
        found = dict(zip(open_questions, each))
        if not works:  # JAX itself does not start, so the flags may be innocent: leave them out and ask again next time
            _answers.update(found)
            return
    _answers.update(found)
    with contextlib.suppress(UserError), atomic.whole_file(kept) as file:  # a folder that cannot be written: ask again
        file.write(json.dumps(before | found, indent=1).encode())


def _read(path: pathlib.Path) -> dict[str, bool]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: answer for name, answer in content.items() if isinstance(answer, bool)}


def _accepted(questions: Iterable[Mapping[str, Any]]) -> list[bool]:
    """Whether JAX starts, for several sets of flags; the processes run side by side."""
    children = []
    for flags in questions:
        set_flags = " ".join(f"--{name}={value}" for name, value in flags.items())
        environment = os.environ | {VARIABLE: set_flags, "JAX_PLATFORMS": "cpu"}
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    return [_ends_well(child) for child in children]


def _ends_well(child: subprocess.Popen) -> bool:
    try:
        return child.wait(_CHILD_SECONDS) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return False


def _version() -> str:
    try:
        return importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
