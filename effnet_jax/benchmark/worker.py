"""One implementation in a process of its own, run on request. Imports JAX or torch only inside the process."""

import importlib
import os
import resource
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from effnet_jax.benchmark.case import INFERENCE_ALONE, OURS, Case
from effnet_jax.benchmark.traffic import bytes_moved
from effnet_jax.errors import UserError
from effnet_jax.process import heap, runtime

# So long on a CPU, because JAX's steps there take their memory anew a few times, mostly among the first thirty to
# forty steps at 224 pixels; that takes as long as one to four steps.
WARM_UP_STEPS, WARM_UP_SECONDS, ACCELERATOR_WARM_UP_SECONDS = 3, 15, 2


class WorkerFailedError(UserError):
    """Something could not be built or run; the message says why."""


class Worker:
    """The parent's end of a process that holds one compiled, warm implementation.

    Attributes:
      compile_seconds: building the step; None where nothing is compiled.
      step_seconds: one step, roughly, for choosing how many make a round.
      bytes_per_step: what the operations of a compiled JAX step read and write; None for others.
    """

    def __init__(self, implementation: str, case: Case, cache_dir: str | None = None):
        context = get_context("spawn")  # a fresh interpreter: nothing of ours is loaded there yet
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, implementation, case, cache_dir), daemon=True)
        self._process.start()
        child.close()
        self.compile_seconds, self.step_seconds, self.bytes_per_step = self._receive()

    def run(self, steps: int) -> float:
        """Returns the seconds that a number of steps took, after one that is not timed."""
        self._connection.send(steps)
        return self._receive()

    def finish(self) -> int:
        """Ends the process; returns its peak memory in bytes (of the device, where that is not the host)."""
        self._connection.send(None)
        peak = self._receive()
        self._process.join()
        return peak

    def stop(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise WorkerFailedError(f"its process ended with code {self._process.exitcode}") from None
        if isinstance(answer, Exception):
            raise WorkerFailedError(f"{type(answer).__name__}: {answer}") from None
        return answer


def warm_up(implementation: Any, steps: int, seconds: float) -> None:
    """Runs `steps` together, again and again: steps in flight have memory of their own, which the first ones touch."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        implementation.run(steps)


def isolated(module: str, function: str, *arguments: Any, cache_dir: str | None = None) -> Any:
    """Returns what a function of a module of ours returns in a fresh process, prepared like every other here.

    What it compiles is kept in `cache_dir`, where one is given.

    Raises:
        WorkerFailedError: it raised.
    """
    context = get_context("spawn")
    connection, child = context.Pipe()
    process = context.Process(target=_call, args=(child, module, function, arguments, cache_dir))  # may have children
    process.start()
    child.close()
    try:
        answer = connection.recv()
    except EOFError:
        answer = RuntimeError("the process ended without an answer")
    process.join()
    if isinstance(answer, Exception):
        raise WorkerFailedError(str(answer))
    return answer


def _call(connection: Connection, module: str, function: str, arguments: tuple, cache_dir: str | None) -> None:
    _choose_compilation_cache(cache_dir)
    try:
        runtime.prepare_process()
        connection.send(getattr(importlib.import_module(module), function)(*arguments))
    except Exception as error:
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _serve(connection: Connection, name: str, case: Case, cache_dir: str | None) -> None:
    """The process: the same allocator settings for everybody, then build, then steps on request."""
    _choose_compilation_cache(cache_dir)
    try:
        runtime.prepare_process()
        implementation = _build(name, case)
        heap.tidy()
        on_accelerator = implementation.accelerator_memory() is not None
        warm_up(implementation, WARM_UP_STEPS, ACCELERATOR_WARM_UP_SECONDS if on_accelerator else WARM_UP_SECONDS)
        started = time.perf_counter()
        implementation.run(1)
        step_seconds = time.perf_counter() - started
        connection.send((implementation.compile_seconds, step_seconds, _bytes_per_step(implementation)))
        while (steps := connection.recv()) is not None:
            implementation.run(1)  # the others have had caches and memory meanwhile
            started = time.perf_counter()
            implementation.run(steps)
            connection.send(time.perf_counter() - started)
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        connection.send(implementation.accelerator_memory() or host)
    except Exception as error:  # whatever it is, the parent reports it beside the others' figures
        connection.send(RuntimeError(f"{type(error).__name__}: {str(error).splitlines()[0]}"))


def _choose_compilation_cache(folder: str | None) -> None:
    if folder is None:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a benchmark of compiling compiles
    else:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder


def _build(name: str, case: Case) -> Any:
    side, _, what = name.partition(": ")
    if what and side == OURS:
        from effnet_jax.benchmark.jax_cam import JaxCam

        return JaxCam(what, case)
    if what:
        from effnet_jax.benchmark.torch_cam import TorchCam

        return TorchCam(what, case)
    if name in (OURS, "naive"):
        from effnet_jax.benchmark.jax_models import JaxImplementation as Implementation
    elif name in INFERENCE_ALONE:
        from effnet_jax.benchmark.onnx_models import OnnxImplementation as Implementation
    elif name == "keras":
        from effnet_jax.benchmark.keras_model import KerasImplementation as Implementation
    else:
        from effnet_jax.benchmark.torch_models import TorchImplementation as Implementation
    return Implementation(name, case)


def _bytes_per_step(implementation: Any) -> int | None:
    compiled = getattr(implementation, "compiled", None)
    return bytes_moved(compiled.as_text()) if compiled else None
