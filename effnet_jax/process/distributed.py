"""Several processes that train as one: how they find each other, and what they agree on.

In a single process there is nothing to agree on, and nothing here costs anything.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax._src import distributed as jax_distributed
from jax.experimental import multihost_utils

from effnet_jax.errors import UserError

_MAX_MESSAGE_BYTES = 2000
_FAILURE, _LISTENING_SECONDS = "effnet_jax/failure", 1.0


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
    """A block in which the `UserError` of one process ends all of them, wherever they are.

    The others mostly wait, in a computation, for one that has given up: they would do so for minutes, and end with a
    stack trace.

    Args:
      end: ends a process at once, from any thread, with the message of the error.
    """
    client = jax_distributed.global_state.client  # which JAX does not give away otherwise; Orbax takes it likewise

    over = threading.Event()

    def listen() -> None:
        while not over.wait(_LISTENING_SECONDS):
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # nothing is there
                message = client.key_value_try_get(_FAILURE)
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
    finally:  # no thread may be in JAX when Python ends
        over.set()
        listener.join()
