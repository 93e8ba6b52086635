"""Files that `torch.save` wrote: a zip with a pickle and the bytes of each storage, or the older single stream."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.pickled import Function, Global, MeaningError, Stateful, read_pickle

STORAGES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""What torch calls the storage of each kind of number."""
MAX_AXES = 16
MAX_SIZE = 2**62
NUMPY_INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def read_torch_file(data: bytes, *, where: str) -> object:
    """Read what `torch.save` wrote, running nothing of it: dictionaries, lists, numbers, text and tensors.

    Args:
        data: The file's bytes.
        where: What the messages call it.

    Raises:
        DataError: It is damaged, or holds anything else.
    """
    if data[:4] == b"PK\x03\x04":
        return _ZipReader(data, where=where).read()
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged stream makes torch raise whatever it stumbles over.
        raise _damaged(where, _first_line(error)) from error


def _damaged(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} cannot be read as a file of tensors: {reason}. Expected what `torch.save` writes of tensors by "
        "name; nothing in it was run. Get it again from where it was made."
    )


def _first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}, {line.partition('. ')[0].rstrip('.')}" if line else type(error).__name__


class _ZipReader:
    """One file of torch's zip format: the pickle, and storages that are read when it names them."""

    def __init__(self, data: bytes, *, where: str) -> None:
        self.where = where
        self.storages: dict[str, Tensor] = {}
        try:
            self.archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise _damaged(where, _first_line(error)) from None
        names = [item.filename for item in self.archive.infolist()]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise _damaged(
                where, f"its zip holds {len(pickles)} pickles of {len(names)} entries, one was expected"
            )
        self.folder = pickles[0].removesuffix("data.pkl")
        order = self.take("byteorder") if f"{self.folder}byteorder" in names else b"little"
        if order.decode("latin1") != sys.byteorder:
            raise _damaged(
                where, f"its numbers have the byte order {order!r}, and this machine's is {sys.byteorder}"
            )

    def read(self) -> object:
        """Give the value."""
        return read_pickle(
            self.take("data.pkl"), where=self.where, functions=FUNCTIONS, find_storage=self.find_storage
        )

    def take(self, name: str) -> bytes:
        """Give the bytes of an entry; torch compresses none, so no entry grows."""
        try:
            info = self.archive.getinfo(self.folder + name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise _damaged(self.where, f"the entry '{name}' is compressed, where torch compresses none")
            return self.archive.read(info)
        except (
            KeyError,
            zipfile.BadZipFile,
            ValueError,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise _damaged(self.where, f"the entry '{name}' is not whole ({_first_line(error)})") from None

    def find_storage(self, ident: tuple[object, ...]) -> Tensor:
        """Give the storage that a persistent id names, as one row of numbers."""
        if len(ident) != 5 or ident[0] != "storage" or not isinstance(ident[1], Global):
            raise MeaningError("a storage is named otherwise than torch does")
        kind = ident[1].name.rpartition(".")[2]
        key, count = ident[2], ident[4]
        if (
            kind not in STORAGES
            or not isinstance(key, str)
            or not key.isalnum()
            or not isinstance(count, int)
        ):
            raise MeaningError("a storage is named otherwise than torch does")
        dtype = STORAGES[kind]
        if key not in self.storages:
            raw = bytearray(self.take(f"data/{key}"))
            if len(raw) != count * dtype.itemsize:
                raise MeaningError(
                    f"the storage {key} has {len(raw)} bytes, where {count * dtype.itemsize} were expected"
                )
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        if self.storages[key].dtype != dtype:
            raise MeaningError(f"the storage {key} is used for numbers of two kinds")
        return self.storages[key]


def _make_tensor(arguments: tuple[object, ...]) -> Tensor:
    if len(arguments) not in (6, 7) or not isinstance(arguments[0], Tensor):
        raise MeaningError("a tensor is made otherwise than torch does")
    storage, offset, size, stride = arguments[0], *arguments[1:4]
    size, stride = _wholes(size), _wholes(stride)
    (offset,) = _wholes((offset,))
    if len(size) != len(stride) or len(size) > MAX_AXES:
        raise MeaningError(f"a tensor has {len(size)} axes and {len(stride)} strides")
    count = math.prod(size)
    last = offset + sum((axis - 1) * step for axis, step in zip(size, stride, strict=True))
    if count > storage.numel() or (count and last >= storage.numel()):
        raise MeaningError(f"a tensor of the shape {list(size)} is larger than its {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset) if count else storage.new_empty(size)


def _wholes(value: object) -> tuple[int, ...]:
    items = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (None,)
    found = tuple(item for item in items if isinstance(item, int) and 0 <= item < MAX_SIZE)
    if len(found) != len(items):
        raise MeaningError("sizes are not whole numbers of 0 or more")
    return found


def _make_parameter(arguments: tuple[object, ...]) -> Tensor:
    if not arguments or not isinstance(arguments[0], Tensor):
        raise MeaningError("a parameter is made otherwise than torch does")
    return arguments[0]


def _make_size(arguments: tuple[object, ...]) -> tuple[int, ...]:
    if len(arguments) != 1:
        raise MeaningError("a size has not one argument")
    return _wholes(arguments[0])


def _make_dictionary(arguments: tuple[object, ...]) -> dict[object, object]:
    if arguments not in ((), ([],)):
        raise MeaningError("a dictionary is made with values")
    return {}


class _NumberKind(Stateful):
    """A numpy dtype of whole numbers: its code, and its byte order once its state is set."""

    def __init__(self, code: str) -> None:
        super().__init__(self.set_order)
        self.code = code
        self.order = "<"

    def set_order(self, state: object) -> None:
        values = cast("tuple[object, ...]", state) if isinstance(state, tuple) else ()
        if len(values) < 2 or values[1] not in ("<", "|"):
            raise MeaningError(
                f"a numpy dtype has the state {str(state)[:40]}, where little endian was expected"
            )


def _make_kind(arguments: tuple[object, ...]) -> _NumberKind:
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or code not in NUMPY_INTEGERS:
        raise MeaningError(
            f"a numpy dtype is {str(code)[:40]}, where one of {', '.join(NUMPY_INTEGERS)} was expected"
        )
    return _NumberKind(code)


def _make_number(arguments: tuple[object, ...]) -> int:
    kind, raw = arguments if len(arguments) == 2 else (None, None)
    if not isinstance(kind, _NumberKind) or not isinstance(raw, bytes) or len(raw) != int(kind.code[1]):
        raise MeaningError("a numpy number is made otherwise than numpy does")
    return int.from_bytes(raw, "little", signed=kind.code.startswith("i"))


def _make_bytes(arguments: tuple[object, ...]) -> bytes:
    text = arguments[0] if len(arguments) == 2 and arguments[1] == "latin1" else None
    if not isinstance(text, str) or any(ord(letter) > 255 for letter in text):
        raise MeaningError("bytes are written otherwise than pickle does")
    return text.encode("latin1")


def _refuse_call(arguments: tuple[object, ...]) -> object:
    raise MeaningError(f"a kind of storage is called with {len(arguments)} arguments")


FUNCTIONS: Mapping[str, Function] = {
    "collections OrderedDict": _make_dictionary,
    "torch Size": _make_size,
    "torch._utils _rebuild_tensor_v2": _make_tensor,
    "torch._utils _rebuild_parameter": _make_parameter,
    "numpy dtype": _make_kind,
    "numpy._core.multiarray scalar": _make_number,
    "numpy.core.multiarray scalar": _make_number,
    "_codecs encode": _make_bytes,
    **{f"torch {name}": _refuse_call for name in STORAGES},
}
"""All names that a file may use, and what stands for them."""
