"""A program from its start to its exit code: help, options, one-line errors."""

import errno
import functools
import logging as std_logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags, logging

from effnet_jax import runtime
from effnet_jax.errors import RunInterrupted, UserError

EXIT_OK, EXIT_SOME_INPUTS_FAILED, EXIT_BAD_INPUT = 0, 1, 2
HELP = ("-h", "-help", "--help")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def run(name: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the program `name` of `effnet_jax.programs`, or prints its help, and exits as `execute` says.

    Args:
      name: of its module.
      argv: options and arguments; None takes those of the process.
    """
    execute(functools.partial(_start, name, list(sys.argv[1:] if argv is None else argv)))


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
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        fail(f"the disk is full ({error.filename or 'no file name'}); free some space and start again")
    sys.exit(code)


def prepare() -> None:
    """Sets logging and the process up; call it before JAX is imported."""
    logging.set_verbosity(logging.ERROR)
    logging.use_absl_handler()
    # A failed asynchronous write is reported once, by us; asyncio would add a traceback for each array.
    std_logging.getLogger("asyncio").setLevel(std_logging.CRITICAL)
    runtime.prepare_process()


def _start(name: str, argv: list[str]) -> int | None:
    from effnet_jax.cli import page, parsing

    program = parsing.load(name)
    if wants_help(argv):
        print(page.of(name, program))
        return EXIT_OK
    arguments = parsing.parse(name, program, argv)
    prepare()
    return program.main(arguments)


def wants_help(argv: Sequence[str]) -> bool:
    """Whether help is asked for; what follows `--` is no option."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(option in HELP for option in options)


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
