"""Reads the text (HLO) of a compiled program, as `jax.stages.Compiled.as_text` gives it: what its devices exchange.

A collective is an exchange of data between devices. XLA writes one that runs beside other work as two instructions, a
start and a done. In a scheduled program the instructions of a computation stand in the order in which they run, so what
stands between the two can hide the exchange.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
"""The opcodes of collectives."""
_PRODUCTS = ("dot", "convolution")
# What takes time; a tuple, a bitcast or a copy of a few numbers does not hide an exchange.
_COMPUTE = (
    *_PRODUCTS,
    "call",
    "cholesky",
    "conditional",
    "custom-call",
    "fft",
    "fusion",
    "gather",
    "reduce",
    "reduce-window",
    "scatter",
    "sort",
    "triangular-solve",
    "while",
)
_BITS = {"pred": 8, "token": 0, "opaque": 0}
_COMMENT = re.compile(r"/\*.*?\*/")
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,<=]*)\]")
_NUMBER_BITS = re.compile(r"[a-z]+(\d+)")
_HEADER = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s.*\{\s*$")
_NAME = re.compile(r"^\s+(ROOT\s+)?%?([\w.\-]+)\s=\s")
_CALLED = re.compile(r"\b(calls|body|condition|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_INDEX = re.compile(r"\bindex=(\d+)")
_GROUPS = re.compile(r"\breplica_groups=(\{\{[\d,]*\}|\[[\d,]+\]|mesh\[[^\]]*\] *\{[^}]*\})")
_AXES = re.compile(r"'([^']+)'(?:=(\d+)|:\(\d+\)(\d+))?")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    text: str  # what follows the opcode: operands and attributes
    is_root: bool = False


@dataclasses.dataclass(frozen=True)
class Collectives:
    """All collectives of a kind in a program."""

    kind: str  # of `KINDS`
    sites: int  # how often it stands in the program
    executions: int  # how often a device runs it, loops counted as often as they run
    bytes: int  # of the results on one device, of all executions
    sent_bytes: int  # what a device sends at least, of all executions
    waiting_bytes: int  # of `sent_bytes` those of sites that are not asynchronous: the device waits for them
    asynchronous: int  # sites that are pairs of a start and a done
    overlapped: int  # asynchronous sites with compute between start and done
    beside_products: int  # asynchronous sites with a matrix product between


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What the devices of a program exchange."""

    collectives: tuple[Collectives, ...]  # by kind
    loops: int  # `while` instructions
    unknown_loops: int  # those whose trips the text does not say; they are counted once

    @property
    def sent_bytes(self) -> int:
        """What a device sends at least, of all collectives."""
        return sum(one.sent_bytes for one in self.collectives)


def read_exchange(text: str) -> Exchange:
    """Finds the collectives of a compiled program.

    The trips of a loop are what XLA notes as `known_trip_count`, or follow from the first value of its counter and the
    constant that its condition compares it with, in steps of 1, as `jax.lax.scan` and `fori_loop` make them. Of a
    conditional all branches count, so the figures are upper bounds there.

    Args:
        text: of one program; the computation of the start is marked `ENTRY`.

    Returns:
        The collectives by kind, in the order of `KINDS`. Bytes are those of one device.

    Raises:
        ValueError: text without a computation marked `ENTRY`.

    Example:
        >>> found = read_exchange('''
        ... ENTRY %main (x: f32[8]) -> f32[16] {
        ...   %x = f32[8]{0} parameter(0)
        ...   ROOT %y = f32[16]{0} all-gather(%x), replica_groups={{0,1}}, dimensions={0}
        ... }''')
        >>> found.collectives[0].kind, found.collectives[0].bytes, found.sent_bytes
        ('all-gather', 64, 32)
    """
    computations, entry = _parse(text)
    if entry is None:
        raise ValueError("expected the text of a compiled program, found no computation marked ENTRY")
    runs, loops, unknown = _count_runs(computations, entry)
    found: dict[str, list[Collectives]] = {}
    for name, times in runs.items():
        for one in _collectives_of(computations[name], computations, times):
            found.setdefault(one.kind, []).append(one)
    return Exchange(tuple(_total(found[kind]) for kind in KINDS if kind in found), loops, unknown)


def array_bytes(shape: str) -> list[int]:
    """Returns the bytes of each array in a shape, of a tuple all of them.

    Example:
        >>> array_bytes("(f32[2,4]{1,0:T(2,128)}, bf16[8]{0}, s32[])"), array_bytes("pred[3]{0}")
        ([32, 16, 4], [3])
    """
    return [
        _bits(kind) * math.prod(int(n) for n in re.findall(r"\d+", sizes)) // 8 for kind, sizes in _ARRAY.findall(shape)
    ]


def _bits(kind):
    if kind in _BITS:
        return _BITS[kind]
    number = _NUMBER_BITS.match(kind)  # f32, bf16, s4, u8, f8e4m3fn; c64 is two float32
    return int(number[1]) if number else 0


def _parse(text) -> tuple[dict[str, list[Instruction]], str | None]:
    """Returns the instructions of each computation, in order, and the name of the first computation to run."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        line = _COMMENT.sub("", line)
        if current is None:
            if header := _HEADER.match(line):
                current = computations.setdefault(header[2], [])
                entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif instruction := _parse_instruction(line):
            current.append(instruction)
    return computations, entry


def _parse_instruction(line) -> Instruction | None:
    start = _NAME.match(line)
    if not start:
        return None
    rest = line[start.end() :]
    end = _closing(rest) if rest.startswith("(") else rest.find(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    opcode, bracket, after = rest.partition("(")
    if not bracket:
        return None
    operands = after[: _closing(bracket + after) - 2]
    names = tuple(re.findall(r"%([\w.\-]+)", operands)) or tuple(filter(None, re.split(r",\s*", operands)))
    return Instruction(start[2], shape, opcode.strip(), names, after, bool(start[1]))


def _closing(text):
    """Returns the index after the bracket that closes the first one of a text."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return index + 1
    return len(text)


def _called(instruction) -> list[tuple[str, str]]:
    """Returns the computations that an instruction runs, each with the attribute that names it."""
    named = _CALLED.findall(instruction.text)
    for branches in _BRANCHES.findall(instruction.text):
        named += [("branch", name) for name in re.findall(r"[\w.\-]+", branches)]
    return named


def _count_runs(computations, entry) -> tuple[dict[str, int], int, int]:
    """Returns how often each computation runs, how many loops there are, and of how many the trips are unknown."""
    runs = dict.fromkeys(computations, 0)
    loops = unknown = 0
    # The text defines a computation before its callers, so in the reverse order callers come first.
    runs[entry] = 1
    for name in reversed(computations):
        for instruction in computations[name] if runs[name] else ():
            trips = 1
            if instruction.opcode == "while":
                known = _trips(instruction, computations[name], computations)
                loops, unknown = loops + 1, unknown + (known is None)
                trips = 1 if known is None else known
            for attribute, other in _called(instruction):
                # What a reduction applies to single numbers holds no exchange; a start shows its own computation.
                if other in runs and (attribute != "to_apply" or instruction.opcode == "call"):
                    runs[other] += 0 if instruction.opcode.endswith("-start") else runs[name] * trips
    return {name: times for name, times in runs.items() if times}, loops, unknown


def _trips(loop, caller, computations) -> int | None:
    """Returns how often a loop of a computation runs; `None` where the text does not say."""
    if known := _TRIPS.search(loop.text):
        return int(known[1])
    condition = {one.name: one for one in computations.get(dict(_called(loop)).get("condition"), ())}
    compare = next((one for one in condition.values() if one.is_root), None)
    if compare is None or compare.opcode != "compare" or "direction=LT" not in compare.text:
        return None
    counter, limit = (condition.get(name) for name in compare.operands)
    index = _INDEX.search(counter.text) if counter and counter.opcode == "get-tuple-element" else None
    if not index:
        return None
    outside = {one.name: one for one in caller}
    start = outside.get(loop.operands[0])
    if start is not None and start.opcode == "tuple":
        start = outside.get(start.operands[int(index[1])])
    first, end = _constant(start, outside), _constant(limit, condition)
    return None if first is None or end is None else max(end - first, 0)


def _constant(instruction, computation) -> int | None:
    while instruction is not None and instruction.opcode in ("copy", "bitcast"):
        instruction = computation.get(instruction.operands[0])
    if instruction is None or instruction.opcode != "constant":
        return None
    number = re.match(r"-?\d+(?=\))", instruction.text)
    return int(number[0]) if number else None


def _collectives_of(instructions: Sequence[Instruction], computations, times: int) -> Iterable[Collectives]:
    """Finds the collectives of one computation that runs some times."""
    places = {one.name: index for index, one in enumerate(instructions)}
    done = {one.operands[0]: one for one in instructions if one.opcode.endswith("-done") and one.operands}
    for index, one in enumerate(instructions):
        kind, is_start, text = one.opcode.removesuffix("-start"), one.opcode.endswith("-start"), one.text
        if one.opcode == "async-start":  # wraps a collective that has no start of its own
            wrapped = [inner for _, name in _called(one) for inner in computations.get(name, ())]
            inner = next((inner for inner in wrapped if inner.opcode in KINDS), None)
            kind, text = (inner.opcode, inner.text) if inner else ("", "")
        if kind not in KINDS:
            continue
        end = done.get(one.name) if is_start else None
        between = instructions[index + 1 : places[end.name]] if end else ()
        # The shape of a start holds its operands too, that of its done the result alone.
        arrays = array_bytes((end or one).shape)
        size = sum(arrays)
        sent = _sent(kind, size, _group_size(text)) * times
        compute = [other for other in between if other.opcode in _COMPUTE]
        yield Collectives(
            kind,
            sites=1,
            executions=times,
            bytes=size * times,
            sent_bytes=sent,
            waiting_bytes=0 if is_start else sent,
            asynchronous=int(is_start),
            overlapped=int(bool(compute)),
            beside_products=int(any(_has_product(other, computations) for other in compute)),
        )


def _has_product(instruction, computations) -> bool:
    if instruction.opcode in _PRODUCTS or (instruction.opcode == "custom-call" and "gemm" in instruction.text):
        return True
    inner = (one for _, name in _called(instruction) for one in computations.get(name, ()))
    return any(_has_product(one, computations) for one in inner)


def _group_size(text) -> int | None:
    """Returns how many devices exchange data with each other; `None` where the text does not say."""
    if not (groups := _GROUPS.search(text)):
        return None
    if groups[1].startswith("["):  # [2,4]<=[8]: two groups of four
        return int(groups[1].strip("[]").split(",")[-1])
    if groups[1].startswith("mesh"):  # mesh['x'=2,'y'=4] {'y'}: groups of four; {'y':(1)2}: of two, a part of an axis
        mesh, _, axes = groups[1].partition("]")
        sizes = {name: size for name, size, _ in _AXES.findall(mesh)}
        return math.prod(int(part or sizes[name]) for name, _, part in _AXES.findall(axes))
    return len(re.findall(r"\d+", groups[1])) or None


def _sent(kind: str, size: int, group: int | None) -> int:
    """Returns the bytes that a device must send at least, for a result of some bytes in a group of devices."""
    others = 1.0 if group is None else (group - 1) / group
    if kind == "all-reduce":  # a reduce-scatter and an all-gather
        return round(2 * size * others)
    if kind == "reduce-scatter":  # whose operand is as large as all results
        return size * ((group or 2) - 1)
    if kind in ("all-gather", "all-to-all", "ragged-all-to-all"):
        return round(size * others)
    return size


def _total(found: Sequence[Collectives]) -> Collectives:
    figures: Mapping[str, int] = {
        field.name: sum(getattr(one, field.name) for one in found)
        for field in dataclasses.fields(Collectives)
        if field.name != "kind"
    }
    return Collectives(found[0].kind, **figures)
