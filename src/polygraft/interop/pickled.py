"""A reader of the pickles that torch writes, which runs nothing.

Python's own unpickler imports and calls whatever a file names. This one has the opcodes of protocol 2 that torch
and composable-sft write, a closed table of functions written here, and no way to reach any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from polygraft.errors import DataError

PROTOCOL = 2
Function = Callable[[tuple[object, ...]], object]
"""What a file may name: takes the arguments that the file gives."""


class MeaningError(Exception):
    """A function of the table was given what it does not mean; `read_pickle` says where."""


@dataclass(frozen=True)
class Global:
    """A name in a file, with what stands for it here."""

    name: str
    function: Function

    def __repr__(self) -> str:
        return self.name


class _Mark:
    """Where a list, tuple or dictionary begins on the stack."""


_MARK = _Mark()


def read_pickle(
    data: bytes, *, where: str, functions: Mapping[str, Function], find_storage: Function
) -> object:
    """Read the value that a pickle of protocol 2 describes, of plain values and of what `functions` makes.

    Args:
        data: The pickle.
        where: What the messages call it.
        functions: What may be named in it, as `module name`, and what that gives for its arguments.
        find_storage: Gives what a persistent id, a tuple, stands for.

    Raises:
        DataError: It is damaged, or names anything else.

    Example:
        >>> import pickle
        >>> data = pickle.dumps({"a": [1, 2.5]}, protocol=2)
        >>> read_pickle(data, where="x", functions={}, find_storage=lambda _: None)
        {'a': [1, 2.5]}
    """
    machine = _Machine(data, where=where, functions=functions, find_storage=find_storage)
    try:
        return machine.run()
    except MeaningError as error:
        raise machine.refuse(str(error)) from None
    except (IndexError, struct.error, UnicodeDecodeError):
        raise machine.refuse("it ends too early, or holds no text where it should") from None


class _Machine:
    def __init__(
        self, data: bytes, *, where: str, functions: Mapping[str, Function], find_storage: Function
    ) -> None:
        self.data, self.where, self.at = data, where, 0
        self.functions, self.find_storage = functions, find_storage
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def refuse(self, reason: str) -> DataError:
        return DataError(
            f"{self.where} is not what torch writes for tensors: at byte {self.at} of its pickle, {reason}. "
            "Expected dictionaries, lists, numbers, text and tensors, and nothing to be run; nothing was. Get the "
            "file again from where it was made, and do not load it with anything that runs pickles."
        )

    def run(self) -> object:
        data, size = self.data, len(self.data)
        while self.at < size:
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                if len(self.stack) != 1:
                    raise self.refuse(f"it ends with {len(self.stack)} values where one was expected")
                return self.stack[0]
            if code == 0x4B:  # BININT1, by far the most frequent: steps between places
                self.stack.append(data[self.at])
                self.at += 1
                continue
            step = _STEPS.get(code)
            if step is None:
                raise self.refuse(f"the opcode 0x{code:02X} is none that it uses")
            step(self)
        raise self.refuse("it ends without its last opcode")

    def take(self, num_bytes: int) -> bytes:
        taken = self.data[self.at : self.at + num_bytes]
        if num_bytes < 0 or len(taken) < num_bytes:
            raise self.refuse(f"{num_bytes} bytes were to follow, and {len(taken)} are left")
        self.at += num_bytes
        return taken

    def number(self, form: str) -> int:
        return cast("int", struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise self.refuse("a name has no end")
        text = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    def pop_to_mark(self) -> list[object]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        raise self.refuse("a list has no beginning")

    def top(self, count: int) -> list[object]:
        if len(self.stack) < count or any(item is _MARK for item in self.stack[-count:]):
            raise self.refuse(f"{count} values were to be there")
        found = self.stack[-count:]
        del self.stack[-count:]
        return found


def _protocol(machine: _Machine) -> None:
    found = machine.number("<B")
    if found != PROTOCOL:
        raise machine.refuse(f"its protocol is {found}, where {PROTOCOL} was expected")


def _name(machine: _Machine) -> None:
    name = f"{machine.line()} {machine.line()}"
    if name not in machine.functions:
        known = ", ".join(sorted(name.replace(" ", ".") for name in machine.functions))
        raise machine.refuse(
            f"it names '{name.replace(' ', '.')[:200]}', and the names that it may use are {known}"
        )
    machine.stack.append(Global(name.replace(" ", "."), machine.functions[name]))


def _call(machine: _Machine) -> None:
    function, arguments = machine.top(2)
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise machine.refuse("something other than a known function is called")
    machine.stack.append(function.function(cast("tuple[object, ...]", arguments)))


def _build(machine: _Machine) -> None:
    target, state = machine.top(2)
    if isinstance(target, Stateful):
        target.set_state(state)
    elif not isinstance(target, dict):
        raise machine.refuse(f"a state is given to a value of the kind {type(target).__name__}")
    # What torch keeps beside a dictionary of tensors, the versions of layers, means nothing here.
    machine.stack.append(target)


class Stateful:
    """A value that a file makes in two steps: its arguments, then its state."""

    def __init__(self, set_state: Callable[[object], None]) -> None:
        self.set_state = set_state


def _set_items(machine: _Machine, items: list[object]) -> None:
    if len(items) % 2 or not machine.stack or not isinstance(machine.stack[-1], dict):
        raise machine.refuse("keys and values are given to what is no dictionary")
    target = cast("dict[object, object]", machine.stack[-1])
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            raise machine.refuse(f"a key is of the kind {type(key).__name__}, where text was expected")
        if key in target:
            raise machine.refuse(f"the key {key!r} stands twice in one dictionary")
        target[key] = value


def _add_items(machine: _Machine, items: list[object]) -> None:
    if not machine.stack or not isinstance(machine.stack[-1], list):
        raise machine.refuse("values are added to what is no list")
    cast("list[object]", machine.stack[-1]).extend(items)


def _get(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        raise machine.refuse(f"it goes back to value {index}, which there is not")
    machine.stack.append(machine.memo[index])


def _put(machine: _Machine, index: int) -> None:
    if not machine.stack or machine.stack[-1] is _MARK:
        raise machine.refuse("it keeps a value where there is none")
    machine.memo[index] = machine.stack[-1]


def _find(machine: _Machine) -> None:
    (ident,) = machine.top(1)
    if not isinstance(ident, tuple):
        raise machine.refuse("a storage has no name")
    machine.stack.append(machine.find_storage(cast("tuple[object, ...]", ident)))


def _long(machine: _Machine) -> None:
    machine.stack.append(int.from_bytes(machine.take(machine.number("<B")), "little", signed=True))


def _text(machine: _Machine) -> None:
    machine.stack.append(machine.take(machine.number("<I")).decode("utf-8"))


def _pop_tuple(count: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(tuple(machine.top(count)))


def _push(form: str) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.number(form))


def _push_value(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


_STEPS: Mapping[int, Callable[[_Machine], None]] = {
    ord(letter): step
    for letter, step in {
        "\x80": _protocol,
        "(": _push_value(_MARK),
        "N": _push_value(None),
        "\x88": _push_value(True),
        "\x89": _push_value(False),
        ")": _push_value(()),
        "}": lambda machine: machine.stack.append({}),
        "]": lambda machine: machine.stack.append([]),
        "M": _push("<H"),
        "J": _push("<i"),
        "G": _push(">d"),
        "\x8a": _long,
        "X": _text,
        "c": _name,
        "R": _call,
        "b": _build,
        "Q": _find,
        "\x85": _pop_tuple(1),
        "\x86": _pop_tuple(2),
        "\x87": _pop_tuple(3),
        "t": lambda machine: machine.stack.append(tuple(machine.pop_to_mark())),
        "u": lambda machine: _set_items(machine, machine.pop_to_mark()),
        "s": lambda machine: _set_items(machine, machine.top(2)),
        "e": lambda machine: _add_items(machine, machine.pop_to_mark()),
        "a": lambda machine: _add_items(machine, machine.top(1)),
        "q": lambda machine: _put(machine, machine.number("<B")),
        "r": lambda machine: _put(machine, machine.number("<I")),
        "h": lambda machine: _get(machine, machine.number("<B")),
        "j": lambda machine: _get(machine, machine.number("<I")),
    }.items()
}
"""What each opcode of protocol 2 that torch writes does; STOP and the most frequent stand in `run`."""
