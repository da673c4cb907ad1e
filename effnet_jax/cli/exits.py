"""How a program ends: exit codes, and one line on stderr for what a user can mend."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import flags

from effnet_jax.errors import RunInterrupted, UserError
from effnet_jax.process import memory

EXIT_OK, EXIT_SOME_INPUTS_FAILED, EXIT_BAD_INPUT = 0, 1, 2
EXIT_STOPPED = 130  # as shells have it
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def execute(main: Callable[[], int | None]) -> NoReturn:
    """Calls `main` and exits.

    Exit code 0, or what it returns; 2 with one line on stderr for anything a user can mend. Other exceptions keep
    their traceback.
    """
    try:
        code = main() or EXIT_OK
        sys.stdout.flush()
    except (flags.Error, UserError) as error:
        fail(str(error))
    except RunInterrupted as stopped:
        print(stopped)
        code = EXIT_OK
    except KeyboardInterrupt:  # where a program does not save first, as a training does
        _complain("stopped by Ctrl-C")
        code = EXIT_STOPPED
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        fail(f"the disk is full ({error.filename or 'no file name'}); free some space and start again")
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        fail(f"out of memory ({memory.in_short(error)}); take fewer or smaller images at a time, or a smaller model")
    sys.exit(code)


def fail(message: str) -> NoReturn:
    """Prints one line on stderr and exits with code 2."""
    _complain(message)
    sys.exit(EXIT_BAD_INPUT)


def end(message: str) -> NoReturn:
    """`fail` for any thread: nothing that is under way is waited for."""
    try:
        _complain(message)
        sys.stdout.flush()
    finally:  # whoever reads may be gone
        os._exit(EXIT_BAD_INPUT)


def _complain(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)
