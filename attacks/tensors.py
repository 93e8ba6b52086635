"""Attacks on graft.safetensors."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

from attacks.attack import (
    TENSORS,
    Attack,
    edit,
    forge,
    mismatch,
    not_json,
    not_safetensors,
    read_header,
    reforge,
    vouch,
    wrong,
)


def _file(folder: Path) -> Path:
    return folder / "graft.safetensors"


def _cut(folder: Path) -> None:
    _file(folder).write_bytes(_file(folder).read_bytes()[:-5])


def _flip(folder: Path) -> None:
    content = bytearray(_file(folder).read_bytes())
    content[-10] ^= 1
    _file(folder).write_bytes(content)


def _value(folder: Path, value: bytes) -> None:
    header, data = read_header(folder)
    forge(folder, header, value + data[len(value) :])


def _swap(folder: Path, one: str, other: str) -> None:
    header, data = read_header(folder)
    header[one], header[other] = header[other], header[one]
    forge(folder, header, data)


def _rename(folder: Path, old: str, new: str) -> None:
    header, data = read_header(folder)
    forge(folder, {new if name == old else name: entry for name, entry in header.items()}, data)


def _length(folder: Path, length: int) -> None:
    vouch(folder, struct.pack("<Q", length) + _file(folder).read_bytes()[8:])


def _twice(folder: Path) -> None:
    entry = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    forge(folder, b'{"down":' + entry + b',"down":' + entry + b"}", b"\0")


def _truth(folder: Path) -> None:
    header, data = read_header(folder)
    forge(folder, header, data[:-1] + b"\x07")


def _behind(folder: Path) -> None:
    header, data = read_header(folder)
    forge(folder, header, data + b"#!/bin/sh")


ATTACKS = {
    "an empty file": Attack(
        spoil=lambda folder: _file(folder).write_bytes(b""),
        says=mismatch("it has 0 bytes, the manifest says 354"),
    ),
    "an empty file that is vouched for": Attack(
        spoil=lambda folder: vouch(folder, b""),
        says=not_safetensors("its header would have 0 bytes, where at most 0 can be there"),
    ),
    "a file cut short": Attack(spoil=_cut, says=mismatch("it has 349 bytes, the manifest says 354")),
    "one flipped bit": Attack(
        spoil=_flip,
        says=mismatch(
            "sha256 is c9de865db061f9192e858193e0ea95a91da05d5dd956b2626cb29ba11e71d14f, "
            "the manifest says 2841f5ddac46ec6b23c86cac161eab9f232bb841792eae1cfb9ccc25a2d92d32"
        ),
    ),
    "pickle bytes": Attack(
        spoil=lambda folder: vouch(folder, pickle.dumps({"down": 1})),
        says=not_safetensors("its header would have 227869824 bytes, where at most 16 can be there"),
    ),
    "a header of 2^64 bytes": Attack(
        spoil=lambda folder: _length(folder, 2**64 - 1),
        says=not_safetensors(
            "its header would have 18446744073709551615 bytes, where at most 346 can be there"
        ),
    ),
    "a header one byte longer than the file": Attack(
        spoil=lambda folder: _length(folder, _file(folder).stat().st_size - 7),
        says=not_safetensors("its header would have 347 bytes, where at most 346 can be there"),
    ),
    "a header that is a list": Attack(
        spoil=lambda folder: forge(folder, [], b""),
        says=not_json("it holds a list where an object was expected", file=f"The header of {TENSORS}"),
    ),
    "a header of nested lists": Attack(
        spoil=lambda folder: forge(folder, b"[" * 100_000 + b"]" * 100_000, b""),
        says=not_json("it is nested deeper than 32 levels", file=f"The header of {TENSORS}"),
    ),
    "a header without tensors": Attack(
        spoil=lambda folder: forge(folder, {}, b""), says=mismatch("the tensor 'down' is missing")
    ),
    "one tensor twice": Attack(
        spoil=_twice,
        says=not_json("the key 'down' stands twice in one object", file=f"The header of {TENSORS}"),
    ),
    "an unknown key in the header": Attack(
        spoil=lambda folder: reforge(folder, down={"code": "x"}),
        says=(
            "The header of {folder}/graft.safetensors has the key 'code' in 'down', which the schema does "
            "not know. The known keys are dtype, shape, data_offsets. Remove the key, or upgrade polygraft "
            "if a newer one wrote the file."
        ),
    ),
    "an unknown dtype": Attack(
        spoil=lambda folder: reforge(folder, down={"dtype": "F8_E4M3"}),
        says=not_safetensors(
            "'down' has the dtype 'F8_E4M3'; known are F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL"
        ),
    ),
    "another dtype of the same size": Attack(
        spoil=lambda folder: reforge(folder, down={"dtype": "I32"}),
        says=mismatch("the tensor 'down' is int32, the manifest says 'float32'"),
    ),
    "another shape of the same size": Attack(
        spoil=lambda folder: reforge(folder, down={"shape": [3, 2]}),
        says=mismatch("the tensor 'down' has the shape [3, 2], the manifest says [2, 3]"),
    ),
    "a negative axis": Attack(
        spoil=lambda folder: reforge(folder, down={"shape": [-2, -3]}),
        says=wrong("'down.shape[0]' is -2", "a whole number of at least 0", file=f"The header of {TENSORS}"),
    ),
    "an axis of 2^62": Attack(
        spoil=lambda folder: reforge(folder, down={"shape": [2**62, 0]}),
        says=not_safetensors("'down' has the shape [4611686018427387904, 0], larger than any tensor here"),
    ),
    "a thousand axes": Attack(
        spoil=lambda folder: reforge(folder, down={"shape": [1] * 1000}),
        says=not_safetensors(
            "'down' has the shape [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,..., "
            "larger than any tensor here"
        ),
    ),
    "tensors that overlap": Attack(
        spoil=lambda folder: reforge(folder, up={"data_offsets": [0, 24]}),
        says=not_safetensors("'up' begins at byte 0, where byte 24 was expected"),
    ),
    "offsets beyond the end": Attack(
        spoil=lambda folder: reforge(folder, down={"data_offsets": [2**40, 2**40 + 24]}),
        says=not_safetensors("'up' begins at byte 24, where byte 0 was expected"),
    ),
    "offsets the wrong way round": Attack(
        spoil=lambda folder: reforge(folder, down={"data_offsets": [24, 0]}),
        says=not_safetensors("'down' lies at [24, 0], where 24 bytes were expected for its shape"),
    ),
    "one offset": Attack(
        spoil=lambda folder: reforge(folder, down={"data_offsets": [0]}),
        says=not_safetensors("'down' lies at [0], where 24 bytes were expected for its shape"),
    ),
    "bytes behind the tensors": Attack(
        spoil=_behind, says=not_safetensors("its tensors end at byte 74 of 83")
    ),
    "NaN": Attack(
        spoil=lambda folder: _value(folder, struct.pack("<f", float("nan"))),
        says=(
            "{folder}/graft.safetensors has the tensor 'down' with numbers that are NaN or infinite: 1 of 6. Finite "
            "numbers were expected. Train the graft again, with a lower learning rate if its loss went up."
        ),
    ),
    "infinity": Attack(
        spoil=lambda folder: _value(folder, struct.pack("<f", float("-inf"))),
        says=(
            "{folder}/graft.safetensors has the tensor 'down' with numbers that are NaN or infinite: 1 of 6. Finite "
            "numbers were expected. Train the graft again, with a lower learning rate if its loss went up."
        ),
    ),
    "truth values that are neither": Attack(
        spoil=_truth, says=not_safetensors("the truth values of 'keep' hold bytes other than 0 and 1")
    ),
    "tensors of other shapes swapped": Attack(
        spoil=lambda folder: _swap(folder, "down", "wide"),
        says=mismatch("the tensor 'down' has the shape [3, 2], the manifest says [2, 3]"),
    ),
    "a tensor renamed": Attack(
        spoil=lambda folder: _rename(folder, "down", "dwon"), says=mismatch("the tensor 'down' is missing")
    ),
    "a tensor with a path for a name": Attack(
        spoil=lambda folder: _rename(folder, "down", "down\n/etc/passwd"),
        says=not_safetensors("'down\\n/etc/passwd' cannot be a tensor's name"),
    ),
    "a tensor that the manifest lacks": Attack(
        spoil=lambda folder: edit(folder, tensors={"down": {"shape": [2, 3], "dtype": "float32"}}),
        says=mismatch("it holds the tensor 'up', which the manifest does not list"),
    ),
}
