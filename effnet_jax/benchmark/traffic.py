"""How much a compiled step reads and writes."""

import math
import re

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*?^}", re.MULTILINE | re.DOTALL)
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)(.*)$", re.MULTILINE)
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_BODY, _TRIPS = re.compile(r"body=%?([\w.\-]+)"), re.compile(r'known_trip_count":\{"n":"(\d+)"')
# What gives an array another name or shape and touches nothing of it.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}


def bytes_moved(program: str) -> int:
    """Returns the bytes that the operations of a program read and write: operands and result, once each.

    Caches may spare some of them. A loop counts as often as it turns; one that XLA made a kernel of (a `call`) as one
    operation: what XLA itself counts of a loop that reads an array row by row is the whole array for every row.

    Args:
      program: optimised HLO, as `compiled.as_text()` gives it.
    """
    computations, entry = {}, ""
    for match in _COMPUTATION.finditer(program):
        computations[match[2]] = match[0].partition("\n")[2]
        entry = match[2] if match[1] else entry
    return _bytes_of(entry, computations)


def _bytes_of(computation: str, computations: dict[str, str]) -> int:
    sizes: dict[str, int] = {}
    moved = 0
    for name, shape, operation, operands, attributes in _INSTRUCTION.findall(computations[computation]):
        sizes[name] = sum(_size(*array) for array in _ARRAY.findall(shape))
        trips = _TRIPS.search(attributes)
        if operation == "while" and trips:
            moved += int(trips[1]) * _bytes_of(_BODY.search(attributes)[1], computations)
        elif operation not in _FREE:
            moved += sum(sizes[operand] for operand in _NAME.findall(operands))
            # A loop gives back, among others, the very arrays that it was given.
            moved += 0 if operation in ("while", "call") else sizes[name]
    return moved


def _size(kind: str, bits: str, dimensions: str) -> int:
    """Bytes of an array as HLO writes its type: `f32[128,10]`; a `pred` takes one."""
    width = 1 if kind == "pred" else int(bits or 8) // 8
    return width * math.prod(int(d) for d in dimensions.split(",") if d)
