"""How a program begins: help or options, logging, the process around JAX."""

import codecs
import functools
import logging as std_logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import logging

from effnet_jax.cli import page, parsing
from effnet_jax.cli.exits import EXIT_OK, execute
from effnet_jax.process import runtime

HELP = ("-h", "-help", "--help")


def run(name: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the program `name` of `effnet_jax.programs`, or prints its help, and exits as `execute` says.

    Args:
      name: of its module.
      argv: options and arguments; None takes those of the process.
    """
    execute(functools.partial(_start, name, list(sys.argv[1:] if argv is None else argv)))


def prepare() -> None:
    """Sets logging and the process up; call it before JAX is imported."""
    logging.set_verbosity(logging.ERROR)
    logging.use_absl_handler()
    # A failed asynchronous write is reported once, by us; asyncio would add a traceback for each array.
    std_logging.getLogger("asyncio").setLevel(std_logging.CRITICAL)
    runtime.prepare_process()


def _start(name: str, argv: list[str]) -> int | None:
    _print_anything()
    program = parsing.load(name)
    if wants_help(argv):
        print(page.of(name, program))
        return EXIT_OK
    arguments = parsing.parse(name, program, argv)
    prepare()
    return program.main(arguments)


def _print_anything() -> None:
    """Lets no name of a file or class end a program, whatever the terminal's encoding: LANG=C knows ASCII alone."""

    def escaped(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)  # a file name that is no text goes out as it came in
        except UnicodeEncodeError:
            return codecs.backslashreplace_errors(error)

    codecs.register_error("effnet_jax", escaped)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="effnet_jax")


def wants_help(argv: Sequence[str]) -> bool:
    """Whether help is asked for; what follows `--` is no option."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return any(option in HELP for option in options)
