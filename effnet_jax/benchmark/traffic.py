"""How much a compiled step reads and writes."""

import math
import re

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)", re.MULTILINE)
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
# What gives an array another name or shape and touches nothing of it.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
# What gives back, among others, the very arrays that it was given.
_LOOPS = {"while", "call"}


def bytes_moved(program: str) -> int:
    """Returns the bytes that the operations of a program's entry read and write: operands and result, once each.

    Caches may spare some of them. A loop counts as one operation: what XLA itself counts of a loop that reads an array
    row by row is the whole array for every row.

    Args:
      program: optimised HLO, as `compiled.as_text()` gives it.
    """
    entry = program[program.index("\nENTRY") :]
    sizes: dict[str, int] = {}
    moved = 0
    for name, shape, operation, operands in _INSTRUCTION.findall(entry):
        sizes[name] = sum(_size(*array) for array in _ARRAY.findall(shape))
        if operation not in _FREE:
            moved += sum(sizes[operand] for operand in _NAME.findall(operands))
            moved += 0 if operation in _LOOPS else sizes[name]
    return moved


def _size(kind: str, bits: str, dimensions: str) -> int:
    """Bytes of an array as HLO writes its type: `f32[128,10]`; a `pred` takes one."""
    width = 1 if kind == "pred" else int(bits or 8) // 8
    return width * math.prod(int(d) for d in dimensions.split(",") if d)
