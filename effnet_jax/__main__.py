"""`python -m effnet_jax train ...`, and the command `effnet-jax` of an installed package."""

import ast
import pathlib
import sys

import effnet_jax
from effnet_jax import cli, programs
from effnet_jax.errors import did_you_mean
from effnet_jax.process import invocation


def main() -> None:
    """Runs the program that the first argument names."""
    called = " ".join(invocation.words())
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""
    if name in programs.NAMES:
        cli.run(name, sys.argv[2:])
    if name:
        cli.fail(f"there is no program {sys.argv[1]!r}{did_you_mean(name, programs.NAMES)}; {called} --help lists them")
    if "--version" in sys.argv:
        print(f"effnet_jax {effnet_jax.__version__}")
    elif cli.wants_help(sys.argv):
        print(f"usage: {called} PROGRAM ...\n")
        print(*(f"  {each:<23}{_summary(each)}" for each in programs.NAMES), "", sep="\n")
        print(f"{called} PROGRAM --help shows the options of one.")
    else:
        cli.fail(f"name a program: {', '.join(programs.NAMES)}; {called} --help says what each does")


def _summary(name: str) -> str:
    """The first line of a program's docstring, read without importing it."""
    source = (pathlib.Path(programs.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).splitlines()[0]


if __name__ == "__main__":
    main()
