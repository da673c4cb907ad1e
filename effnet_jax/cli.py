"""What the scripts share: flags, one-line errors, exit codes."""

import contextlib
import errno
import logging as std_logging
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import ml_collections
from absl import flags, logging

from effnet_jax import runtime
from effnet_jax.errors import RunInterrupted, UserError

EXIT_OK, EXIT_SOME_INPUTS_FAILED, EXIT_BAD_INPUT = 0, 1, 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def run(main: Callable[[list[str]], int | None]) -> None:
    """Parses the flags, runs `main` on the remaining arguments and exits.

    Exit code 0, or what `main` returns; 2 with one line on stderr for anything a user can mend. Other
    exceptions keep their traceback.
    """
    try:
        arguments = _parse(sys.argv)
        logging.set_verbosity(logging.ERROR)
        logging.use_absl_handler()
        # A failed asynchronous write is reported once, by us; asyncio would add a traceback for each array.
        std_logging.getLogger("asyncio").setLevel(std_logging.CRITICAL)
        runtime.prepare_process()
        code = main(arguments) or EXIT_OK
        sys.stdout.flush()
    except (flags.Error, UserError) as error:
        fail(str(error))
    except RunInterrupted as stopped:
        print(stopped)
        code = EXIT_OK
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        fail(f"the disk is full ({error.filename or 'no file name'}); free some space and start again")
    sys.exit(code)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)[1:]
    except (KeyError, AttributeError) as error:  # ml_collections: an override of a key that is not there
        raise UserError(f"unknown config key {error.args[0]}") from error


def loaded(config: flags.FlagHolder) -> ml_collections.ConfigDict:
    """Returns the config of a `--config` flag.

    Raises:
      UserError: the file is not there or cannot be imported.
    """
    try:
        config.value.keys()
    except OSError as error:  # ml_collections keeps the error of loading until the first use
        raise UserError(f"the config file cannot be loaded: {error.__cause__ or error}") from error
    return config.value


def workdir(flag: flags.FlagHolder, config: flags.FlagHolder) -> pathlib.Path:
    """Returns the folder of a run or a study: what its flag says, else runs/<name of the config file>."""
    return pathlib.Path(flag.value or f"runs/{pathlib.Path(flags.FLAGS[config.name].config_filename).stem}")


def records(flag: flags.FlagHolder, config: flags.FlagHolder) -> pathlib.Path | None:
    """Returns the folder of a study's records: what its flag says, else results/<name of the config file>/runs.

    A flag that is set to nothing means no records.
    """
    if flag.value is None:
        return pathlib.Path("results") / pathlib.Path(flags.FLAGS[config.name].config_filename).stem / "runs"
    return pathlib.Path(flag.value) if flag.value else None


class ClusterFlags:
    """The flags by which a process joins others; made where a script defines its flags."""

    def __init__(self) -> None:
        self._distributed = flags.DEFINE_bool(
            "distributed", False, "One of several processes: of SLURM, Open MPI, Kubernetes or a TPU pod by itself."
        )
        self._address = flags.DEFINE_string("coordinator_address", None, "host:port at which process 0 listens.")
        self._num_processes = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
        self._process_id = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
        self._seconds = flags.DEFINE_float("join_seconds", 300, "How long to wait for the others.", lower_bound=0)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """A block in which this process is one of several, where the flags ask for it; see `distributed`.

        What a user can mend, also in another of the processes, ends this one at once.
        """
        by_hand = (self._address.value, self._num_processes.value, self._process_id.value)
        if not self._distributed.value and by_hand == (None, None, None):
            yield
            return
        from effnet_jax import distributed

        try:
            distributed.join(*by_hand, self._seconds.value)
        except UserError as error:
            _end(str(error))
        with distributed.failing_together(_end):
            yield


def fail(message: str) -> None:
    """Prints one line on stderr and exits with code 2."""
    _complain(message)
    sys.exit(EXIT_BAD_INPUT)


def _end(message: str) -> NoReturn:
    """`fail` for any thread: nothing that is under way is waited for."""
    try:
        _complain(message)
        sys.stdout.flush()
    finally:  # whoever reads may be gone
        os._exit(EXIT_BAD_INPUT)


def _complain(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)


def refuse(arguments: list[str]) -> None:
    """Raises a `UserError` where a script that takes flags alone was given something else."""
    if arguments:
        raise UserError(f"unexpected argument {arguments[0]!r}; options are given as --name=value")
