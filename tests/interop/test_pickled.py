"""The reader of pickles: what torch writes, and nothing that would run."""

from __future__ import annotations

import os
import pickle
import pickletools
from pathlib import Path

import pytest

from polygraft.errors import DataError
from polygraft.interop.pickled import read_pickle


def read(data: bytes) -> object:
    return read_pickle(data, where="a.bin", functions={}, find_storage=lambda _: None)


def refusal(at: int, reason: str) -> str:
    return (
        f"a.bin is not what torch writes for tensors: at byte {at} of its pickle, {reason}. Expected dictionaries, "
        "lists, numbers, text and tensors, and nothing to be run; nothing was. Get the file again from where it was "
        "made, and do not load it with anything that runs pickles."
    )


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 255, 256, 65535, 65536, -1, 2**40, -(2**40)], "b": (1, (2, 3), (4, 5, 6, 7), ())},
        {"text": "ñuqa", "flags": [True, False, None], "number": 2.5, "nested": {"x": {}}},
        list(range(3000)),
        {f"name{index}": [index] for index in range(400)},
    ],
)
def test_plain_values_come_back_as_pickle_reads_them(value: object):
    assert read(pickle.dumps(value, protocol=2)) == value


def test_a_value_that_is_named_twice_is_one_value():
    shared = [1]
    found = read(pickle.dumps([shared, shared], protocol=2))
    assert isinstance(found, list)
    assert found[0] is found[1]


class Runs:
    """What a stranger puts into a file to have it run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path: Path):
    ran = tmp_path / "ran"
    data = pickle.dumps({"weights": Runs(ran)}, protocol=2)
    at = next(place for op, _, place in pickletools.genops(data) if op.name == "GLOBAL")
    with pytest.raises(DataError) as caught:
        read(data)
    end = data.index(b"\n", data.index(b"\n", at) + 1) + 1
    named = data[at + 1 : end - 1].decode().replace("\n", ".")
    assert str(caught.value) == refusal(end, f"it names '{named}', and the names that it may use are ")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("data", "at", "reason"),
    [
        (b"", 0, "it ends without its last opcode"),
        (b"\x80\x04}.", 2, "its protocol is 4, where 2 was expected"),
        (b"\x80\x02i", 3, "the opcode 0x69 is none that it uses"),
        (b"\x80\x02}}.", 5, "it ends with 2 values where one was expected"),
        (b"\x80\x02X\xff\xff\xff\x7fab", 7, "2147483647 bytes were to follow, and 2 are left"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", 8, "it ends too early, or holds no text where it should"),
        (b"\x80\x02K", 3, "it ends too early, or holds no text where it should"),
        (b"\x80\x02h\x07.", 4, "it goes back to value 7, which there is not"),
        (b"\x80\x02q\x00.", 4, "it keeps a value where there is none"),
        (b"\x80\x02K\x01R.", 5, "2 values were to be there"),
        (b"\x80\x02K\x01)R.", 6, "something other than a known function is called"),
        (b"\x80\x02K\x01}b.", 6, "a state is given to a value of the kind int"),
        (b"\x80\x02}]K\x01s.", 7, "a key is of the kind list, where text was expected"),
        (b"\x80\x02](K\x01K\x02u.", 9, "keys and values are given to what is no dictionary"),
        (b"\x80\x02}K\x01a.", 6, "values are added to what is no list"),
        (b"\x80\x02t.", 3, "a list has no beginning"),
        (b"\x80\x02cos", 3, "a name has no end"),
        (b"\x80\x02K\x01Q.", 5, "a storage has no name"),
        (
            b"\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u.",
            21,
            "the key 'a' stands twice in one dictionary",
        ),
    ],
)
def test_a_damaged_pickle_is_refused_in_a_sentence(data: bytes, at: int, reason: str):
    with pytest.raises(DataError) as caught:
        read(data)
    assert str(caught.value) == refusal(at, reason)


def test_any_cut_and_any_changed_byte_is_read_or_refused_in_a_sentence():
    data = pickle.dumps({"a": [1, 2.5, (3, "x")], "b": {"c": None, "d": 70000}}, protocol=2)
    tries = [data[:end] for end in range(len(data))]
    tries += [
        data[:at] + bytes([byte]) + data[at + 1 :] for at in range(len(data)) for byte in range(0, 256, 5)
    ]
    for changed in tries:
        try:
            read(changed)
        except DataError as error:
            assert str(error).startswith("a.bin is not what torch writes for tensors: at byte ")
