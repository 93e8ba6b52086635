"""Which places of tensors are set, in few bytes: the code of sparse masks.

The masks follow one another, each a whole number of bytes; how many there are, and the size of each tensor,
is known from elsewhere. A mask over n places, flattened in order, of which c are set, is

1. one byte: the form in its lower three bits, the Rice parameter k in its upper five (0 unless the form is
   one of gaps);
2. c as a varint (LEB128: seven bits a byte, the lowest first, the top bit set on all bytes but the last);
3. what the form says:

====  ==========  ==================================================================================
form  name        what follows
====  ==========  ==================================================================================
0     none        nothing; c is 0
1     all         nothing; c is n
2     bits        one bit for each place, 1 where it is set
3     set gaps    for each set place its gap g: how many places lie between it and the set place before
                  it, or the start
4     unset gaps  the same for each unset place, n - c gaps
====  ==========  ==================================================================================

Gaps are Rice codes (Rice and Plaunt 1971) in two streams, so that neither way needs a loop over places: the
number of bytes of the first stream as a varint; the first stream, for each gap g >> k zeros and a one; the
second stream, for each gap its lowest k bits, the lowest first. Bits fill each byte from its lowest bit up,
and every stream is filled up to a whole byte with zeros.

The writer takes the form with the fewest bytes, and the k with the fewest bits, the smallest of equals.
A reader may meet a larger form, but no k other than 0 with gaps * 2**k >= 2n: a smaller k needs fewer bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from polygraft.errors import GraftError

MAX_RICE = 31
MAX_VARINT_BYTES = 10


class _Form(IntEnum):
    NONE = 0
    ALL = 1
    BITS = 2
    SET_GAPS = 3
    UNSET_GAPS = 4


def encode_places(masks: Sequence[Bool[Tensor, ...]]) -> UInt8[Tensor, " N"]:
    """Write which places of tensors are set; equal masks give equal bytes.

    Args:
        masks: For each tensor True at its set places, in any shape.

    Raises:
        GraftError: A mask is not of booleans.

    Example:
        >>> encode_places([torch.tensor([False, False, True, False])]).tolist()
        [2, 1, 4]
    """
    blocks: list[bytes] = []
    for number, mask in enumerate(masks, 1):
        if mask.dtype != torch.bool:
            raise GraftError(
                f"Mask {number} of {len(masks)} is of the dtype {mask.dtype}. A mask says True or False for each "
                "place. Compare its values first, as in `values != 0`."
            )
        blocks.append(_encode_mask(mask.detach().reshape(-1).cpu().numpy()))
    return torch.from_numpy(np.frombuffer(bytearray(b"".join(blocks)), dtype=np.uint8))


def decode_places(
    code: UInt8[Tensor, " N"], *, sizes: Sequence[int], where: str
) -> list[Int64[Tensor, " C"]]:
    """Read which places of tensors are set, as rising positions in each flattened tensor.

    Nothing in the code is trusted: what it asks for is compared with the sizes before memory is taken.

    Args:
        code: What `encode_places` wrote.
        sizes: Number of places of each tensor, in the order in which they were written.
        where: What the messages call the code.

    Raises:
        GraftError: The code is not one of masks over tensors of these sizes.

    Example:
        >>> code = encode_places([torch.tensor([False, False, True, False])])
        >>> decode_places(code, sizes=[4], where="The mask")
        [tensor([2])]
    """
    if code.dtype != torch.uint8 or code.dim() != 1:
        raise GraftError(
            f"{where} is a tensor of the dtype {code.dtype} with {code.dim()} axes. The places of masks are one "
            "row of bytes (torch.uint8)."
        )
    reader = _Reader(code.detach().cpu().numpy(), where=where, num_masks=len(sizes))
    found: list[Tensor] = []
    for size in sizes:
        reader.number += 1
        found.append(torch.from_numpy(_decode_mask(reader, size=size)))
    if reader.num_left:
        raise GraftError(
            f"{where} has {len(code)} bytes, of which its masks take {len(code) - reader.num_left}. One mask was "
            f"expected for each of {len(sizes)} tensors, and nothing behind them."
        )
    return found


def measure_entropy(sizes_and_counts: Iterable[tuple[int, int]]) -> float:
    """Give the bytes that no code of masks with places set at random can stay below on average.

    The sum of `n H(c / n) / 8`, where c of a tensor's n places are set and H is the entropy in bits.

    Example:
        >>> measure_entropy([(800, 400), (800, 0)])
        100.0
    """
    num_bits = 0.0
    for size, count in sizes_and_counts:
        num_bits += sum(part * math.log2(size / part) for part in (count, size - count) if part)
    return num_bits / 8


def _encode_mask(mask: NDArray[np.bool_]) -> bytes:
    size, count = mask.size, int(np.count_nonzero(mask))
    if count in (0, size):
        return bytes([_Form.ALL if count else _Form.NONE]) + _varint(count)
    is_dense = 2 * count > size
    gaps = _gaps(np.flatnonzero(~mask if is_dense else mask))
    rice, num_bits = _choose_rice(gaps)
    num_bytes = _num_bytes(num_bits)
    num_rice = len(_varint(num_bytes)) + num_bytes + _num_bytes(gaps.size * rice)
    if num_rice < _num_bytes(size):
        form, payload = _Form.UNSET_GAPS if is_dense else _Form.SET_GAPS, _encode_gaps(gaps, rice=rice)
    else:
        form, rice, payload = _Form.BITS, 0, np.packbits(mask, bitorder="little").tobytes()
    return bytes([form | rice << 3]) + _varint(count) + payload


def _choose_rice(gaps: NDArray[np.int64]) -> tuple[int, int]:
    """Give the k with the fewest bits, and how many bits of the first stream it needs."""
    best, best_unary, fewest = 0, 0, math.inf
    rest = gaps
    for rice in range(MAX_RICE + 1):
        if gaps.size * (rice + 1) >= fewest:
            break  # Every gap takes so many bits whatever its value is.
        unary = gaps.size + int(rest.sum())
        if unary + gaps.size * rice < fewest:
            best, best_unary, fewest = rice, unary, unary + gaps.size * rice
        rest = rest >> 1
    return best, best_unary


def _encode_gaps(gaps: NDArray[np.int64], *, rice: int) -> bytes:
    ends = np.cumsum((gaps >> rice) + 1) - 1
    unary = np.zeros(ends[-1] + 1, dtype=np.uint8)
    unary[ends] = 1
    lower = np.empty((gaps.size, rice), dtype=np.uint8)
    for bit in range(rice):
        lower[:, bit] = (gaps >> bit) & 1
    first, second = np.packbits(unary, bitorder="little"), np.packbits(lower, bitorder="little")
    return _varint(first.size) + first.tobytes() + second.tobytes()


def _decode_mask(reader: _Reader, *, size: int) -> NDArray[np.int64]:
    header = int(reader.take(1)[0])
    form, rice = header & 7, header >> 3
    if form > max(_Form):
        raise reader.refuse(f"the form is {form}, where 0 to {max(_Form)} are known")
    if rice and form not in (_Form.SET_GAPS, _Form.UNSET_GAPS):
        raise reader.refuse(f"the form {form} has the Rice parameter {rice}, where only gaps have one")
    count = reader.take_varint()
    if count > size:
        raise reader.refuse(f"{count} places are set, where the tensor has {size}")
    if form in (_Form.NONE, _Form.ALL):
        if count != (size if form == _Form.ALL else 0):
            name = "all" if form == _Form.ALL else "none"
            raise reader.refuse(f"{count} places are set, where {name} of {size} should be")
        return np.arange(count, dtype=np.int64)
    if form == _Form.BITS:
        mask = reader.take_bits(size)
        if np.count_nonzero(mask) != count:
            raise reader.refuse(f"{np.count_nonzero(mask)} bits are set, where {count} places should be")
        return np.flatnonzero(mask)
    if form == _Form.SET_GAPS:
        return _decode_gaps(reader, num_gaps=count, rice=rice, size=size)
    mask = np.ones(size, dtype=np.bool_)
    mask[_decode_gaps(reader, num_gaps=size - count, rice=rice, size=size)] = False
    return np.flatnonzero(mask)


def _decode_gaps(reader: _Reader, *, num_gaps: int, rice: int, size: int) -> NDArray[np.int64]:
    if rice and num_gaps << rice >= 2 * size:
        raise reader.refuse(f"the Rice parameter is {rice}, too large for {num_gaps} gaps in {size} places")
    num_bytes = reader.take_varint()
    if num_bytes > _num_bytes(size):
        raise reader.refuse(f"the gaps take {num_bytes} bytes, where at most {_num_bytes(size)} can be")
    unary = np.unpackbits(reader.take(num_bytes), bitorder="little").view(np.bool_)
    if np.count_nonzero(unary) != num_gaps:
        raise reader.refuse(f"{np.count_nonzero(unary)} gaps are there, where {num_gaps} were expected")
    ends = np.flatnonzero(unary)
    num_bits = int(ends[-1]) + 1 if num_gaps else 0
    if _num_bytes(num_bits) != num_bytes:
        raise reader.refuse(f"the gaps end in {_num_bytes(num_bits)} bytes, where {num_bytes} are given")
    if num_bits - num_gaps << rice > size:  # Compared before the shift, which could overflow.
        raise reader.refuse(f"the gaps lead beyond the tensor's {size} places")
    lower = reader.take_bits(num_gaps * rice).reshape(num_gaps, rice)
    gaps = _gaps(ends) << rice
    for bit in range(rice):
        gaps |= lower[:, bit].astype(np.int64) << bit
    gaps += 1
    places = np.cumsum(gaps) - 1
    if num_gaps and places[-1] >= size:
        raise reader.refuse(f"the gaps lead to place {places[-1]} of a tensor of {size}")
    return places


class _Reader:
    """A code read from front to back, and what its messages have to say."""

    def __init__(self, code: NDArray[np.uint8], *, where: str, num_masks: int) -> None:
        self.number = 0
        self._code, self._position = code, 0
        self._where, self._num_masks = where, num_masks

    @property
    def num_left(self) -> int:
        """Bytes that were not taken yet."""
        return self._code.size - self._position

    def refuse(self, reason: str) -> GraftError:
        return GraftError(
            f"{self._where} cannot be read at tensor {self.number} of {self._num_masks}: {reason}. The places that "
            "polygraft wrote for tensors of these sizes were expected."
        )

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        if num_bytes > self.num_left:
            raise self.refuse(f"{num_bytes} bytes were to follow, and {self.num_left} are left")
        self._position += num_bytes
        return self._code[self._position - num_bytes : self._position]

    def take_varint(self) -> int:
        value = 0
        for number in range(MAX_VARINT_BYTES):
            byte = int(self.take(1)[0])
            value |= (byte & 0x7F) << 7 * number
            if byte < 0x80:
                return value
        raise self.refuse(f"a number goes on behind its byte {MAX_VARINT_BYTES}")

    def take_bits(self, num_bits: int) -> NDArray[np.bool_]:
        raw = self.take(_num_bytes(num_bits))
        if num_bits % 8 and raw[-1] >> num_bits % 8:
            raise self.refuse(f"bits are set behind the last of {num_bits}")
        return np.unpackbits(raw, count=num_bits, bitorder="little").view(np.bool_)


def _gaps(places: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(places, prepend=-1) - 1


def _num_bytes(num_bits: int) -> int:
    return (num_bits + 7) // 8


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
