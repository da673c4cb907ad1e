"""Several processes that train as one: how they find each other, and what they agree on.

In a single process there is nothing to agree on, and nothing here costs anything.
"""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src import distributed as jax_distributed
from jax.experimental import multihost_utils

from effnet_jax.errors import UserError

_MAX_MESSAGE_BYTES = 2000
_FAILURE, _BEATS, _LISTENING_SECONDS = "effnet_jax/failure", "effnet_jax/beats/", 1.0
_LEFT = "left"
SILENT_SECONDS = 30.0  # after which a process is taken for dead


def join(coordinator_address: str | None, num_processes: int | None, process_id: int | None, seconds: float) -> None:
    """Makes this process one of several; call it before anything touches a device.

    Args:
      coordinator_address: "host:port" at which process 0 listens. Without this and the next two, JAX finds out from
        what started the processes: SLURM, Open MPI, Kubernetes or a TPU pod.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      seconds: how long to wait for the others.

    Raises:
      UserError: some of the three are missing or impossible, nothing tells them, the others do not come, or
        processes differ in how many devices they have. JAX may still wait in a thread: end the process by `os._exit`.
    """
    by_hand = (coordinator_address, num_processes, process_id)
    _check(*by_hand)
    failure: list[Exception] = []

    def initialise() -> None:
        try:
            jax.distributed.initialize(*by_hand, initialization_timeout=2 * int(seconds) + 10)
        except Exception as error:  # a thread would print it and be forgotten
            failure.append(error)

    # In a thread that may be left behind: JAX itself ends the process, with a stack trace, when its time is over.
    thread = threading.Thread(target=initialise, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure and coordinator_address is None:
        raise UserError(
            f"--distributed finds no cluster here ({failure[0]}): by itself it is for SLURM, Open MPI, Kubernetes and "
            "TPU pods; elsewhere give --coordinator_address, --num_processes and --process_id as well"
        )
    if failure or thread.is_alive():
        place = coordinator_address or "the address of their cluster"
        reason = failure[0] if failure else f"not all were there within {seconds:g} seconds"
        raise UserError(
            f"the processes did not find each other at {place} ({reason}): start each of them with a --process_id of "
            "its own and the same --coordinator_address, a free port on the host of process 0"
        )
    if jax.local_device_count() * jax.process_count() != jax.device_count():
        raise UserError(
            f"process {jax.process_index()} has {jax.local_device_count()} of the {jax.device_count()} devices of "
            f"{jax.process_count()} processes: give each process the same number"
        )


def _check(address: str | None, num_processes: int | None, process_id: int | None) -> None:
    missing = [value is None for value in (address, num_processes, process_id)]
    if all(missing):
        return
    if any(missing):
        raise UserError(
            "--coordinator_address, --num_processes and --process_id go together: give all three, or --distributed "
            "alone where SLURM, Open MPI, Kubernetes or a TPU pod starts the processes"
        )
    if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdigit():
        raise UserError(f"--coordinator_address={address} names no port; write it as host:port")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} is none of {num_processes} processes; they count from 0 to --num_processes - 1"
        )


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return jax.process_index() == 0


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """A block that all processes leave together: the `UserError` of one becomes that of all.

    Raises:
      UserError: the block did, here or elsewhere.
    """
    if jax.process_count() == 1:
        yield
        return
    mine = None
    try:
        yield
    except UserError as error:
        mine = error
    messages = _gathered("" if mine is None else str(mine))
    failed = [(process, message) for process, message in enumerate(messages) if message]
    if failed:
        process, message = failed[0]
        raise UserError(message if len(failed) == len(messages) else f"process {process}: {message}") from mine


def _gathered(text: str) -> list[str]:
    """Returns the texts of all processes, in their order."""
    content = text.encode()[:_MAX_MESSAGE_BYTES]
    row = np.zeros(_MAX_MESSAGE_BYTES, np.uint8)
    row[: len(content)] = np.frombuffer(content, np.uint8)
    return [bytes(other).rstrip(b"\0").decode(errors="ignore") for other in multihost_utils.process_allgather(row)]


@contextlib.contextmanager
def failing_together(end: Callable[[str], NoReturn]) -> Iterator[None]:
    """A block in which the `UserError` of one process, or its death, ends all of them, wherever they are.

    The others mostly wait, in a computation, for one that has given up: they would do so for minutes, and end with a
    stack trace.

    Args:
      end: ends a process at once, from any thread, with the message of the error.
    """
    client = jax_distributed.global_state.client  # which JAX does not give away otherwise; Orbax takes it likewise
    pulse, over = _Pulse(client), threading.Event()

    def listen() -> None:
        while not over.wait(_LISTENING_SECONDS):
            message = pulse.message()
            if message is not None:
                if is_first():
                    time.sleep(2 * _LISTENING_SECONDS)  # the others read it from this process
                end(message)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    except UserError as error:
        client.key_value_set(_FAILURE, str(error), allow_overwrite=True)
        listener.join()  # which does not come back
    except jax.errors.JaxRuntimeError:
        listener.join(SILENT_SECONDS + 5)  # nor where the reason is that another process is dead
        raise
    finally:  # no thread may be in JAX when Python ends
        over.set()
        listener.join()
        pulse.leave()


class _Pulse:
    """What the processes tell each other of their lives, through the store that process 0 keeps for JAX.

    Each writes beats there. Process 0 looks whether they go on, and says what it finds; the others read that.
    """

    def __init__(self, client: Any):
        self._client, self._count = client, 0
        self._seen: dict[str, tuple[str, float]] = {}  # the last beat of each process, and when it was new
        self._reached = time.monotonic()  # the store, for the last time

    def message(self) -> str | None:
        """Beats; returns why all must end, where they must."""
        self._count += 1
        try:
            self._write(f"{self._count} process {jax.process_index()} (number {os.getpid()} on {platform.node()})")
            self._reached = time.monotonic()
            if is_first() and (dead := self._dead()):
                self._client.key_value_set(_FAILURE, _gone(dead), allow_overwrite=True)
            return self._client.key_value_try_get(_FAILURE)
        except jax.errors.JaxRuntimeError:  # nothing is there, or nobody
            return _gone("process 0") if time.monotonic() - self._reached > SILENT_SECONDS else None

    def leave(self) -> None:
        """Says that no more beats come: process 0 may have something to write after the others have ended."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._write(_LEFT)

    def _write(self, beat: str) -> None:
        self._client.key_value_set(f"{_BEATS}{jax.process_index()}", beat, allow_overwrite=True)

    def _dead(self) -> str | None:
        now = time.monotonic()
        for key, beat in self._client.key_value_dir_get(_BEATS):
            if beat == _LEFT:
                continue
            if key not in self._seen or self._seen[key][0] != beat:
                self._seen[key] = (beat, now)
            elif now - self._seen[key][1] > SILENT_SECONDS:
                return beat.partition(" ")[2]
        return None


def _gone(who: str) -> str:
    return (
        f"{who} has shown no sign of life for {SILENT_SECONDS:g} seconds: it was killed, or its machine is gone. Start "
        "all processes again: the same command goes on from the last checkpoint"
    )
