"""The numbers of a graft: graft.safetensors, written byte for byte the same, read with suspicion.

The file is the safetensors format: the header's length in 8 bytes, the header as JSON, the
tensors one after the other. It is read once, from front to back, straight into the tensors, and
its digest is taken on the way.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import BinaryIO

import torch
from torch import Tensor

from polygraft.errors import StoreError
from polygraft.store.fields import Fields, parse_object, shown
from polygraft.store.manifest import TensorRecord

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What the format calls each kind of number that a graft may hold."""

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_AXES = 16
MAX_VALUES = 2**40
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_PREFIX = 8
_BLOCK = 1 << 20
_TENSOR_NAME = re.compile(r"[!-~]{1,512}")
_METADATA = "__metadata__"
_AGAIN = "Put the graft in again."


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of writing tensors to a file."""

    num_bytes: int
    """Size of the file."""
    sha256: str
    """Digest of the file."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    end: int


def dtype_name(dtype: torch.dtype) -> str:
    """Give what a manifest calls a dtype.

    Example:
        >>> dtype_name(torch.bfloat16)
        'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def describe(tensors: Mapping[str, Tensor]) -> dict[str, TensorRecord]:
    """Give the shape and dtype of every tensor."""
    return {
        name: TensorRecord(shape=tuple(tensor.shape), dtype=dtype_name(tensor.dtype))
        for name, tensor in tensors.items()
    }


def count_parameters(tensors: Mapping[str, Tensor]) -> int:
    """Count the floating-point numbers."""
    return sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())


def check_tensors(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Make sure that tensors can be stored: plain, named, of a known dtype, finite.

    Raises:
        StoreError: A tensor is none of that.
    """
    if not tensors:
        raise StoreError(
            f"{where} has no tensors, so it would change nothing. At least one was expected. Train it first."
        )
    for name, tensor in tensors.items():
        if not _TENSOR_NAME.fullmatch(name) or name == _METADATA:
            raise StoreError(
                f"{where} has a tensor named {shown(name)}. A tensor's name has 1 to 512 characters, "
                f"printable ASCII without spaces, and is not {_METADATA}. Name it otherwise."
            )
        if tensor.layout != torch.strided or tensor.dtype not in _CODES or tensor.is_meta:
            kind = "meta" if tensor.is_meta else f"{dtype_name(tensor.dtype)} ({tensor.layout})"
            known = ", ".join(dtype_name(dtype) for dtype in _CODES)
            raise StoreError(
                f"{where} has the tensor '{name}' of kind {kind}. Dense tensors of {known} can be stored. "
                "Convert it first."
            )
        _check_finite(name, tensor, where=where)


def write_tensors(tensors: Mapping[str, Tensor], file: BinaryIO) -> Written:
    """Write tensors; equal tensors give equal bytes, whatever their order in the mapping."""
    ordered, text, length = _plan_file(tensors)
    digest = hashlib.sha256()
    for block in (len(text).to_bytes(_PREFIX, "little"), text):
        digest.update(block)
        file.write(block)
    for _, tensor in ordered:
        block = _bytes_of(tensor.detach().to("cpu").contiguous()).numpy().data
        digest.update(block)
        file.write(block)
    return Written(num_bytes=_PREFIX + len(text) + length, sha256=digest.hexdigest())


def count_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Count the bytes of the file that `write_tensors` would write; only shapes and dtypes are looked at.

    Args:
        tensors: Tensors by name, with or without values.

    Example:
        >>> count_bytes({"w": torch.zeros(10)}) - count_bytes({"w": torch.zeros(10, dtype=torch.float16)})
        20
    """
    _, text, length = _plan_file(tensors)
    return _PREFIX + len(text) + length


def _plan_file(tensors: Mapping[str, Tensor]) -> tuple[list[tuple[str, Tensor]], bytes, int]:
    """Give the order of the tensors in a file, its header, and the bytes of all tensors."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {_METADATA: {"format": "pt"}}
    position = 0
    for name, tensor in ordered:
        end = position + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    return ordered, text + b" " * (-len(text) % _PREFIX), position


def read_tensors(
    file: BufferedReader,
    *,
    where: str,
    expected: Mapping[str, TensorRecord],
    num_bytes: int,
    sha256: str,
) -> dict[str, Tensor]:
    """Read tensors that are exactly what a manifest says they are.

    Args:
        file: A plain file, opened at its start.
        where: What the messages call the file.
        expected: The tensors that the manifest lists.
        num_bytes: The size that the manifest gives.
        sha256: The digest that the manifest gives.

    Raises:
        StoreError: Size, header, names, shapes, dtypes, digest or values are otherwise.
    """
    size = os.fstat(file.fileno()).st_size
    if size != num_bytes:
        raise _mismatch(where, f"it has {size} bytes, the manifest says {num_bytes}")
    head, places = _read_header(file, size=size, where=where)
    digest = hashlib.sha256(head)
    _check_places(places, where=where, expected=expected)
    tensors: dict[str, Tensor] = {}
    for place in sorted(places, key=lambda place: (place.start, place.end)):
        raw = torch.empty(place.end - place.start, dtype=torch.uint8)
        view = raw.numpy().data
        for block in _blocks(file, view, where=where):
            digest.update(block)
        if place.code == "BOOL" and bool((raw > 1).any()):
            raise _damaged(where, f"the truth values of '{place.name}' hold bytes other than 0 and 1")
        tensors[place.name] = raw.view(DTYPES[place.code]).reshape(place.shape)
    if digest.hexdigest() != sha256:
        raise _mismatch(where, f"sha256 is {digest.hexdigest()}, the manifest says {sha256}")
    for name, tensor in tensors.items():
        _check_finite(name, tensor, where=where)
    return {name: tensors[name] for name in expected}


def _read_header(file: BufferedReader, *, size: int, where: str) -> tuple[bytes, list[_Place]]:
    prefix = file.read(_PREFIX)
    length = int.from_bytes(prefix, "little")
    largest = min(MAX_HEADER_BYTES, size - _PREFIX)
    if len(prefix) < _PREFIX or length > largest:
        raise _damaged(
            where, f"its header would have {length} bytes, where at most {max(0, largest)} can be there"
        )
    text = file.read(length)
    header = parse_object(text, where=f"The header of {where}")
    header.pop(_METADATA, None)
    places = [
        _place(
            name,
            Fields(
                value, where=f"The header of {where}", known=("dtype", "shape", "data_offsets"), path=name
            ),
            where=where,
        )
        for name, value in header.items()
    ]
    position = 0
    for place in sorted(places, key=lambda place: (place.start, place.end)):
        if place.start != position:
            raise _damaged(
                where, f"'{place.name}' begins at byte {place.start}, where byte {position} was expected"
            )
        position = place.end
    if position != size - _PREFIX - length:
        raise _damaged(where, f"its tensors end at byte {position} of {size - _PREFIX - length}")
    return prefix + text, places


def _place(name: str, item: Fields, *, where: str) -> _Place:
    code, shape, offsets = item.text("dtype"), item.wholes("shape"), item.wholes("data_offsets")
    if not _TENSOR_NAME.fullmatch(name):
        raise _damaged(where, f"{shown(name)} cannot be a tensor's name")
    if code not in DTYPES:
        raise _damaged(where, f"'{name}' has the dtype {shown(code)}; known are {', '.join(DTYPES)}")
    if len(shape) > MAX_AXES or math.prod(max(1, axis) for axis in shape) > MAX_VALUES:
        raise _damaged(where, f"'{name}' has the shape {shown(list(shape))}, larger than any tensor here")
    num_bytes = math.prod(shape) * DTYPES[code].itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != num_bytes:
        raise _damaged(
            where,
            f"'{name}' lies at {shown(list(offsets))}, where {num_bytes} bytes were expected for its shape",
        )
    return _Place(name=name, code=code, shape=shape, start=offsets[0], end=offsets[1])


def _check_places(places: list[_Place], *, where: str, expected: Mapping[str, TensorRecord]) -> None:
    found = {place.name: place for place in places}
    for name in expected:
        if name not in found:
            raise _mismatch(where, f"the tensor {shown(name)} is missing")
    for name, place in found.items():
        if name not in expected:
            raise _mismatch(where, f"it holds the tensor '{name}', which the manifest does not list")
        record, dtype = expected[name], dtype_name(DTYPES[place.code])
        if place.shape != record.shape:
            raise _mismatch(
                where,
                f"the tensor '{name}' has the shape {list(place.shape)}, "
                f"the manifest says {list(record.shape)}",
            )
        if dtype != record.dtype:
            raise _mismatch(where, f"the tensor '{name}' is {dtype}, the manifest says {shown(record.dtype)}")


def _blocks(file: BufferedReader, view: memoryview, *, where: str) -> Iterator[memoryview]:
    done = 0
    while done < len(view):
        num_bytes = file.readinto(view[done : done + _BLOCK])
        if not num_bytes:
            raise _damaged(where, "it ended while it was read")
        yield view[done : done + num_bytes]
        done += num_bytes


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _check_finite(name: str, tensor: Tensor, *, where: str) -> None:
    if tensor.is_floating_point():
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            raise StoreError(
                f"{where} has the tensor '{name}' with numbers that are NaN or infinite: {wrong} of "
                f"{tensor.numel()}. Finite numbers were expected. Train the graft again, with a lower learning rate "
                "if its loss went up."
            )


def _mismatch(where: str, reason: str) -> StoreError:
    return StoreError(
        f"{where} does not match its manifest: {reason}. "
        f"The file was changed or cut short after it was written. {_AGAIN}"
    )


def _damaged(where: str, reason: str) -> StoreError:
    return StoreError(f"{where} is not the safetensors file that polygraft writes: {reason}. {_AGAIN}")
