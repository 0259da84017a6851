"""What the pickles of `torch.save` say, found out without unpickling.

A pickle is a program, and unpickling runs it. Here its opcodes are only read, and the few that state dicts need are
followed; another opcode, or a name that is not in `_NAMES`, is refused.

A hostile pickle costs no more than `_MOST_OPCODES` and the limits of `Stream` allow. Nothing walks through nested
values, so they may be nested as deep as they like; keys are never nested, since hashing them would walk.
"""

import dataclasses
import io
import pickletools
from collections.abc import Iterator
from typing import Any, NoReturn

import ml_dtypes
import numpy as np

LARGEST_PICKLE = 1 << 23  # that of BERT-large, with 400 tensors, is a hundred times smaller
MOST_AXES = 32  # NumPy 1 allows no more
MOST_ELEMENTS = 1 << 48
_MOST_OPCODES = 1_000_000  # a tensor takes 40
_LONGEST_STRING = 1 << 16
_LONGEST_NAME = 1 << 8
_MOST_KEYS = 1 << 31  # larger numbers, which no state dict has as keys, could be chosen to collide


class Stream(io.BytesIO):
    """Pickles one after another, whose strings and names have a largest length."""

    def read(self, size: int) -> bytes:
        if size > _LONGEST_STRING:
            raise ValueError(f"expected strings of at most {_LONGEST_STRING:,} bytes, found {size:,}")
        return super().read(size)

    def readline(self) -> bytes:
        line = super().readline(_LONGEST_NAME)
        if b"\\" in line:  # `pickletools` would resolve it, and warn where it cannot
            raise ValueError("expected a plain name, found a backslash")
        return line


@dataclasses.dataclass(frozen=True)
class Storage:
    """The memory of one or more tensors; `key` says where in the file it is."""

    key: str
    dtype: np.dtype
    elements: int


@dataclasses.dataclass
class Tensor:
    """A view of a storage, in elements, not yet compared with the storage's size; without a storage, unfinished."""

    storage: Storage | None = None
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pickled:
    """What a pickle says: plain values, dicts for ordered dicts, `Tensor`, and all its storages by key."""

    value: Any
    storages: dict[str, Storage]


def read_pickle(stream: Stream) -> Pickled:
    """Reads one pickle and leaves the stream behind it.

    Raises:
        ValueError: it is broken, it is too long, or it needs more than tensors; a line without the file's name.
    """
    stack, outer, memo, storages = [], [], {}, {}
    left = _MOST_OPCODES
    for opcode, argument, position in _parsed(stream):
        left -= 1
        if left < 0:
            raise ValueError(f"expected a pickle of at most {_MOST_OPCODES:,} opcodes, found a longer one")
        try:
            match opcode.name:
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case "NONE":
                    stack.append(None)
                case "NEWTRUE":
                    stack.append(True)
                case "NEWFALSE":
                    stack.append(False)
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(argument)
                case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                    stack.append(argument)
                case "EMPTY_TUPLE":
                    stack.append(())
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "MARK":
                    outer.append(stack)
                    stack = []
                case "TUPLE":
                    items, stack = stack, outer.pop()
                    stack.append(tuple(items))
                case "TUPLE1":
                    stack.append((stack.pop(),))
                case "TUPLE2":
                    last, first = stack.pop(), stack.pop()
                    stack.append((first, last))
                case "TUPLE3":
                    last, middle, first = stack.pop(), stack.pop(), stack.pop()
                    stack.append((first, middle, last))
                case "APPEND":
                    item = stack.pop()
                    _extend(stack[-1], [item])
                case "APPENDS":
                    items, stack = stack, outer.pop()
                    _extend(stack[-1], items)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _set(stack[-1], [key, value])
                case "SETITEMS":
                    items, stack = stack, outer.pop()
                    _set(stack[-1], items)
                case "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "GLOBAL":
                    stack.append(_named(argument.replace(" ", "."), stream))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(_named(f"{module}.{name}" if type(module) is type(name) is str else "", stream))
                case "INST":
                    _refuse_name(argument.replace(" ", "."), stream)
                case "REDUCE" | "NEWOBJ":
                    arguments, function = stack.pop(), stack.pop()
                    made = _called(function, arguments)
                    left -= len(made) if isinstance(made, dict) else 0  # the same pairs may be used again and again
                    stack.append(made)
                case "BUILD":
                    state = stack.pop()
                    _build(stack[-1], state)
                case "BINPERSID":
                    storage = _storage(stack.pop())
                    if storages.setdefault(storage.key, storage) != storage:
                        raise ValueError(f"storage {shown(storage.key)}: expected one type and size, found two")
                    stack.append(storage)
                case name:
                    _refuse(f"uses the pickle opcode {name}")
        except (IndexError, KeyError):  # from the stack and the memo
            raise ValueError(f"expected a whole pickle, found {opcode.name} without a value at {position:,}") from None
    if not stack:
        raise ValueError("expected a whole pickle, found one without a value")
    return Pickled(stack[-1], storages)


def shown(text: str | bytes) -> str:
    """A name as in a program, on one line of bounded length."""
    return repr(text[:_LONGEST_NAME]) + "..." * (len(text) > _LONGEST_NAME)


def _parsed(stream: Stream) -> Iterator[tuple]:
    try:
        yield from pickletools.genops(stream)
    except ValueError:
        raise ValueError(
            f"expected whole pickles in the first {LARGEST_PICKLE:,} bytes, with strings of at most "
            f"{_LONGEST_STRING:,} bytes, found a broken one at byte {stream.tell():,}"
        ) from None


def _refuse(what: str) -> NoReturn:
    raise ValueError(f"{what}, expected only what tensors need; it is not executed, because a pickle can run code")


def _refuse_name(name: str, stream: Stream) -> NoReturn:
    if b"_modules" in stream.getvalue():  # an attribute of every nn.Module
        _refuse(f"a whole saved model, save model.state_dict() instead: it names {shown(name)}")
    _refuse(f"names {shown(name)}")


def _named(name: str, stream: Stream) -> Any:
    if name not in _NAMES:
        _refuse_name(name, stream)
    return _NAMES[name]


def _called(function: Any, arguments: Any) -> Any:
    if not callable(function) or type(arguments) is not tuple:  # what is callable comes from `_NAMES`
        _refuse(f"calls {type(function).__name__}")
    return function(arguments)


def _extend(target: Any, items: list) -> None:
    if type(target) is not list:
        raise ValueError(f"expected a list to append to, found {type(target).__name__}")
    target.extend(items)


def _set(target: Any, items: list) -> None:
    if type(target) is not dict or len(items) % 2:
        raise ValueError(f"expected a dict and pairs, found {type(target).__name__} and {len(items)} values")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str and not (type(key) is int and 0 <= key < _MOST_KEYS):
            raise ValueError(f"expected keys that are strings or counts, found {type(key).__name__}")
        target[key] = value


def _build(target: Any, state: Any) -> None:
    """What follows an object that was made without its content, or with attributes that do not matter here."""
    size = len(state) if type(state) is tuple else None
    if type(target) is type(state) is dict:  # `_metadata`, beside an ordered dict
        return
    if isinstance(target, Tensor):
        if size == 3 and target.storage:  # of a variable: requires_grad, volatile, hooks
            return
        if size == 4 and not target.storage:  # of a tensor until PyTorch 0.1.10
            vars(target).update(vars(_tensor(state)))
            return
        if size == 5 and not target.storage and isinstance(state[0], Tensor):  # of a variable until then
            vars(target).update(vars(state[0]))
            return
    _refuse(f"sets the state of {type(target).__name__}")


def _storage(identity: Any) -> Storage:
    if type(identity) is not tuple or len(identity) not in (5, 6) or type(identity[0]) is not str:
        _refuse("refers to something that is no storage")
    kind, dtype, key, _, elements, *view = identity
    if kind != "storage":
        _refuse(f"refers to a {shown(kind)}")
    if any(part is not None for part in view):
        raise ValueError("expected whole storages, found a view of one, which PyTorch no longer writes")
    if not isinstance(dtype, np.dtype) or type(key) is not str or not _is_count(elements):
        raise ValueError("expected storages with a type, a key and a size, found one without")
    return Storage(key, dtype, elements)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_ELEMENTS


def _tensor(arguments: tuple) -> Tensor:
    # Behind the first four are requires_grad and hooks; a seventh would say that the elements are to be changed.
    storage, offset, shape, strides = arguments[:4] if len(arguments) in (4, 6) else 4 * [None]
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("expected tensors of a storage, an offset, sizes and strides, found another")
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(
            f"expected a stride for each of at most {MOST_AXES} sizes, found {len(shape)} and {len(strides)}"
        )
    if not all(map(_is_count, (offset, *shape, *strides))):
        raise ValueError(f"expected offsets, sizes and strides from 0 to {MOST_ELEMENTS:,}, found another")
    return Tensor(storage, offset, shape, strides)


def _parameter(arguments: tuple) -> Tensor:
    if not arguments:
        return Tensor()
    if not isinstance(arguments[0], Tensor):
        raise ValueError(f"expected parameters made of a tensor, found {type(arguments[0]).__name__}")
    return arguments[0]


def _unfinished_tensor(arguments: tuple) -> Tensor:
    if arguments:
        raise ValueError("expected tensors of a storage, an offset, sizes and strides, found another")
    return Tensor()


def _ordered_dict(arguments: tuple) -> dict:
    made = {}
    if not arguments:
        return made
    pairs = arguments[0]  # of Python 2
    if len(arguments) != 1 or type(pairs) is not list or any(type(pair) not in (list, tuple) for pair in pairs):
        raise ValueError("expected an ordered dict made of a list of pairs, found another")
    for pair in pairs:
        if len(pair) != 2:
            raise ValueError(f"expected an ordered dict made of a list of pairs, found {len(pair)} values")
        _set(made, list(pair))
    return made


_DTYPES = {
    "Double": np.dtype("<f8"),
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
}
_NAMES = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    **{f"torch.{kind}Storage": dtype for kind, dtype in _DTYPES.items()},
    **{f"torch.{kind}Tensor": _unfinished_tensor for kind in _DTYPES},
}
