"""Python programs in processes of their own that start in milliseconds: they are forked from one that is ready.

There are two of those. One has imported what every program of effnet_jax imports first, and no JAX. The other has
prepared itself as a program does, and has imported JAX and what takes seconds beside it, but has asked for no device.
What a program does from there on it does by itself, as ever. Tests of how a process starts call `sys.executable`.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
MOST_SECONDS = 900  # after which a process is killed; beside other work some take minutes
FIRST = ("absl.logging", "ml_collections.config_flags", "effnet_jax.cli", "effnet_jax.programs")
HEAVY = (
    "effnet_jax.training.loop", "effnet_jax.evaluation.checkpoint", "effnet_jax.cam.session", "effnet_jax.inference",
    "effnet_jax.search.runner", "sklearn.datasets", "tests.conftest",
)  # fmt: skip


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess:
    """Does what `python ARGUMENTS` would, where these begin with a script, with -m MODULE or with -c CODE.

    Args:
      options: see `Process`.

    Returns:
      Exit code, standard output and error, as text; it has no standard input.
    """
    process = Process(*arguments, **options)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.arguments, process.returncode, stdout, stderr)


class Process:
    """One that runs beside the test, with the methods of `subprocess.Popen` that tests need.

    Args:
      arguments: see `run`.
      with_jax: fork the one that has imported JAX, for what will need it.
      cwd: where it runs. It finds the package from anywhere.
      environment: what it has beside the environment of the test.
    """

    def __init__(
        self,
        *arguments: Any,
        with_jax: bool = False,
        cwd: str | pathlib.Path = ROOT,
        environment: Mapping[str, str] = types.MappingProxyType({}),
    ) -> None:
        self.arguments, self._with_jax = list(map(str, arguments)), with_jax
        self._folder = tempfile.TemporaryDirectory()
        self._files = [pathlib.Path(self._folder.name, name) for name in ("stdout", "stderr")]
        self.returncode: int | None = None
        self.pid = _ask(with_jax, [self.arguments, str(cwd), {**os.environ, **environment}, *map(str, self._files)])

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float = MOST_SECONDS) -> int:
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(self._with_jax, [self.pid, options])
        return self.returncode

    def said(self) -> str:
        """Its standard output so far."""
        return self._files[0].read_text() if self._files[0].exists() else ""

    def communicate(self) -> tuple[str, str]:
        self.wait()
        return tuple(file.read_text() for file in self._files)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _ask(with_jax: bool, request: list) -> Any:
    server = _server(with_jax)
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@functools.cache
def _server(with_jax: bool) -> subprocess.Popen:
    pipe, command = subprocess.PIPE, [sys.executable, __file__, *["with_jax"] * with_jax]
    server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    atexit.register(server.communicate)  # the end of its input ends it
    return server


def _serve(with_jax: bool) -> None:
    before = dict(os.environ)
    sys.path.pop(0)  # tests/
    for module in FIRST:
        importlib.import_module(module)
    if with_jax:
        from effnet_jax import cli

        cli.prepare()
        cli.prepare = cli.start.prepare = lambda: None
        for module in HEAVY:
            importlib.import_module(module)
        from tests import short

        short.shorten_loops()
    assert with_jax == ("jax" in sys.modules) and threading.active_count() == 1
    gc.freeze()
    for line in sys.stdin:
        first, *rest = json.loads(line)
        if isinstance(first, int):
            pid, status = os.waitpid(first, *rest)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            _become(before, first, *rest)


def _become(before: dict, words: list[str], cwd: str, environment: dict, stdout: str, stderr: str) -> None:
    """Runs a program in this process and ends it. `before` is the environment that its parent began with."""
    signal.alarm(MOST_SECONDS)
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, file, flags in ((0, os.devnull, os.O_RDONLY), (1, stdout, writing), (2, stderr, writing)):
        os.dup2(os.open(file, flags), number)
    os.chdir(cwd)
    for key in before.keys() - environment.keys():
        os.environ.pop(key, None)
    os.environ.update({key: value for key, value in environment.items() if before.get(key) != value})
    kind, *rest = words
    sys.argv = rest if kind == "-m" else [kind, *rest[kind == "-c" :]]
    code = 1
    try:
        if kind == "-c":
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        elif kind == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(kind, run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve("with_jax" in sys.argv)
