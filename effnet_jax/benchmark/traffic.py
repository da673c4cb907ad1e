"""What the operations of a compiled step read and write."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*?^}", re.MULTILINE | re.DOTALL)
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)(.*)$", re.MULTILINE)
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\](?:\{[^}]*?(?:S\((\d+)\))?\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_BODY, _TRIPS = re.compile(r"body=%?([\w.\-]+)"), re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLED, _TARGET = re.compile(r"calls=%?([\w.\-]+)"), re.compile(r'custom_call_target="([^"]*)"')
_SCOPE = re.compile(r'op_name="([^"]*)"')
# What gives an array another name or shape and touches nothing of it; or the end of what was counted at its start.
_FREE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "after-all"}
_END = "-done"
# Copies that go on beside other operations; a TPU brings operands into its own memory so.
_COPIES = {"copy-start", "slice-start"}
# What reads no more of its operand than it gives.
_SLICES = {"slice", "dynamic-slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Operation:
    """What runs at once: on a GPU about one kernel.

    Attributes:
      kind: HLO's name of it, "fusion" for most; of a library's function that function.
      bytes: operands and result, once each, where they are in the device's main memory (a TPU keeps what it can in a
        memory of the chip's); of an operand that is only sliced the slices.
      times: how often it runs in a step.
      scope: where in the model it comes from, as JAX names it.
    """

    kind: str
    bytes: int
    times: int
    scope: str


def bytes_moved(program: str) -> int:
    """Returns the bytes that the operations of a program read and write; see `operations`."""
    return sum(operation.times * operation.bytes for operation in operations(program))


def operations(program: str) -> list[Operation]:
    """Returns the operations of a program.

    Caches may spare some of their bytes. What is in a loop runs as often as the loop turns; a loop of unknown length,
    and one that XLA made a kernel of (a `call`), is one operation: what XLA itself counts of a loop that reads an array
    row by row is the whole array for every row.

    Args:
      program: optimised HLO, as `compiled.as_text()` gives it.
    """
    computations, entry = {}, ""
    for match in _COMPUTATION.finditer(program):
        computations[match[2]] = match[0].partition("\n")[2]
        entry = match[2] if match[1] else entry
    return list(_operations(entry, computations, 1))


def _operations(computation: str, computations: dict[str, str], times: int) -> Iterator[Operation]:
    sizes: dict[str, int] = {}
    whole: dict[str, int] = {}  # wherever they are
    for name, shape, kind, operands, attributes in _INSTRUCTION.findall(computations[computation]):
        sizes[name], whole[name] = _bytes(shape), _bytes(shape, everywhere=True)
        trips = _TRIPS.search(attributes)
        if kind == "while" and trips:
            yield from _operations(_BODY.search(attributes)[1], computations, times * int(trips[1]))
        elif kind == "async-start":
            yield from _operations(_CALLED.search(attributes)[1], computations, times)
        elif kind not in _FREE and not kind.endswith(_END):
            read = [sizes[operand] for operand in _NAME.findall(operands)]
            written = sizes[name]
            if kind == "fusion":
                needed = map(round, _read_of_parameters(computations[_CALLED.search(attributes)[1]]))
                read = list(map(min, read, needed))
            elif kind in _COPIES:
                # The result names the operand once more, beside the copy.
                written -= read[0]
                read = [min(read[0], _bytes(shape, everywhere=True) - whole[_NAME.findall(operands)[0]])]
            elif kind in ("while", "call"):
                written = 0  # a loop gives back, among others, the very arrays that it was given
            library, scope = _TARGET.search(attributes), _SCOPE.search(attributes)
            yield Operation(library[1] if library else kind, sum(read) + written, times, scope[1] if scope else "")


def _read_of_parameters(fused: str) -> list[float]:
    """Returns the bytes that a fused computation reads of each parameter: less than all where it needs slices alone."""
    instructions = _INSTRUCTION.findall(fused)
    elements = {name: _elements(shape) for name, shape, *_ in instructions}
    needed: dict[str, float] = collections.defaultdict(float)
    needed[instructions[-1][0]] = math.inf
    parameters = {}
    for name, shape, kind, operands, _ in reversed(instructions):
        whole = elements[name]
        share = min(needed[name], whole) / max(whole, 1)
        if kind == "parameter":
            parameters[int(operands)] = share * _bytes(shape)
            continue
        names = _NAME.findall(operands)
        for operand in set(names):
            as_many = elements[operand] == whole or (kind in _SLICES and operand == names[0])
            needed[operand] += share * whole if as_many else math.inf
    return [parameters[number] for number in sorted(parameters)]


def _elements(shape: str) -> int:
    return sum(math.prod(int(d) for d in dimensions.split(",") if d) for _, _, dimensions, _ in _ARRAY.findall(shape))


def _bytes(shape: str, everywhere: bool = False) -> int:
    """Bytes of the arrays of a type; of those in main memory alone, or of all."""
    return sum(_size(*array) for *array, space in _ARRAY.findall(shape) if everywhere or not space)


def _size(kind: str, bits: str, dimensions: str) -> int:
    """Bytes of an array as HLO writes its type: `f32[128,10]`; a `pred` takes one."""
    width = 1 if kind == "pred" else int(bits or 8) // 8
    return width * math.prod(int(d) for d in dimensions.split(",") if d)
