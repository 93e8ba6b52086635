from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.parts.places import decode_places, encode_places, measure_entropy

DENSITIES = (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.65, 0.9, 0.99)
NONE, ALL, BITS, SET_GAPS, UNSET_GAPS = range(5)


def draw(size: int, *, density: float, seed: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) < density


def places_of(mask: Tensor) -> list[int]:
    return mask.flatten().nonzero()[:, 0].tolist()


def decode(code: bytes | list[int], *sizes: int) -> list[list[int]]:
    tensor = torch.tensor(list(code), dtype=torch.uint8)
    return [places.tolist() for places in decode_places(tensor, sizes=sizes, where="The mask 'qu'")]


@st.composite
def masks(draw_from: st.DrawFn) -> Tensor:
    """A mask of at most 300 places at any density, or of a few long runs."""
    size = draw_from(st.integers(0, 300))
    if draw_from(st.booleans()):
        ends = draw_from(st.lists(st.integers(0, size), max_size=6).map(sorted))
        mask = torch.zeros(size, dtype=torch.bool)
        for end in ends:
            mask[end:] = ~mask[end:]
        return mask
    density = draw_from(st.sampled_from([0.0, 0.003, *DENSITIES, 1.0]))
    return draw(size, density=density, seed=draw_from(st.integers(0, 2**32 - 1)))


class Slow:
    """The format as docs/store.md tells it, one bit at a time, without any check."""

    def __init__(self, code: list[int]) -> None:
        self.code = code

    def take_varint(self) -> int:
        byte = self.code.pop(0)
        return byte if byte < 128 else byte - 128 + 128 * self.take_varint()

    def take_bits(self, num_bits: int) -> list[int]:
        raw = [self.code.pop(0) for _ in range(-(-num_bits // 8))]
        return [raw[bit // 8] >> bit % 8 & 1 for bit in range(num_bits)]

    def take_gaps(self, num_gaps: int, *, rice: int) -> list[int]:
        unary = self.take_bits(8 * self.take_varint())
        lower = self.take_bits(num_gaps * rice)
        places, place = [], -1
        for number in range(num_gaps):
            gap = unary.index(1)
            unary = unary[gap + 1 :]
            for bit in reversed(lower[number * rice : (number + 1) * rice]):
                gap = 2 * gap + bit
            place += gap + 1
            places.append(place)
        return places

    def take_mask(self, size: int) -> list[int]:
        header = self.code.pop(0)
        form, rice, count = header % 8, header // 8, self.take_varint()
        if form == BITS:
            return [place for place, bit in enumerate(self.take_bits(size)) if bit]
        if form == SET_GAPS:
            return self.take_gaps(count, rice=rice)
        if form == UNSET_GAPS:
            unset = self.take_gaps(size - count, rice=rice)
            return [place for place in range(size) if place not in unset]
        return list(range(count))


@given(st.lists(masks(), max_size=4))
def test_places_come_back_and_a_slow_reader_of_the_format_finds_the_same(some: list[Tensor]):
    code = encode_places(some)
    expected = [places_of(mask) for mask in some]
    assert decode(code.tolist(), *(mask.numel() for mask in some)) == expected
    slow = Slow(code.tolist())
    assert [slow.take_mask(mask.numel()) for mask in some] == expected
    assert slow.code == []


def num_bytes_of_gaps(places: list[int], *, rice: int) -> int:
    gaps = [place - before - 1 for before, place in zip([-1, *places], places, strict=False)]
    first, second = sum((gap >> rice) + 1 for gap in gaps), rice * len(gaps)
    return 1 + -(-first // 8) + -(-second // 8)


@given(masks())
def test_no_form_would_take_fewer_bytes(mask: Tensor):
    size, places = mask.numel(), places_of(mask)
    num_bytes = len(encode_places([mask])) - 1 - (2 if len(places) > 127 else 1)
    if len(places) in (0, size):
        assert num_bytes == 0
        return
    assert num_bytes <= -(-size // 8)
    fewer = places if 2 * len(places) <= size else places_of(~mask)
    # The parameter is chosen by bits, of which each stream may fill up to seven more.
    assert num_bytes <= min(num_bytes_of_gaps(fewer, rice=rice) for rice in range(12)) + 1


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize(("size", "seed"), [(100_000, 0), (300_000, 1), (1_000_000, 2)])
def test_random_masks_take_at_most_a_tenth_more_than_their_entropy(size: int, seed: int, density: float):
    mask = draw(size, density=density, seed=seed)
    code = encode_places([mask])
    assert len(code) <= 1.10 * measure_entropy([(size, int(mask.sum()))]) + 16
    assert torch.equal(decode_places(code, sizes=[size], where="it")[0], mask.nonzero()[:, 0])


@pytest.mark.parametrize("num_rows", [0, 1, 8, 50, 99, 100])
def test_whole_rows_never_take_more_than_their_bits(num_rows: int):
    mask = torch.zeros(100, 768, dtype=torch.bool)
    mask[torch.randperm(100, generator=torch.Generator().manual_seed(0))[:num_rows]] = True
    code = encode_places([mask])
    assert len(code) <= 1 + 3 + 9600
    assert decode(code.tolist(), 76_800) == [places_of(mask)]


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        ([], [NONE, 0]),
        ([0], [NONE, 0]),
        ([1], [ALL, 1]),
        ([0] * 200, [NONE, 0]),
        ([1] * 200, [ALL, 200 - 128 + 128, 1]),
        ([0, 0, 1, 0, 1, 0, 0, 0, 0, 1], [BITS, 3, 0b00010100, 0b10]),
        ([0] * 38 + [1] + [0] * 99, [SET_GAPS + 8 * 4, 1, 1, 0b100, 0b0110]),
        ([1] * 38 + [0] + [1] * 99, [UNSET_GAPS + 8 * 4, 137, 1, 1, 0b100, 0b0110]),
    ],
)
def test_known_masks_give_known_bytes(mask: list[int], code: list[int]):
    given_mask = torch.tensor(mask, dtype=torch.bool)
    assert encode_places([given_mask]).tolist() == code
    assert decode(code, len(mask)) == [places_of(given_mask)]


def test_the_bytes_depend_on_the_values_alone():
    mask = draw(600, density=0.1, seed=5).reshape(20, 30)
    assert torch.equal(encode_places([mask]), encode_places([mask.T.contiguous().T]))
    assert torch.equal(encode_places([mask]), encode_places([mask.flatten()]))


def test_no_masks_are_no_bytes():
    assert encode_places([]).tolist() == []
    assert decode([]) == []


@pytest.mark.parametrize(
    "code",
    [
        [BITS, 2, 0b11, 0],
        [ALL, 9],
        [SET_GAPS, 2, 1, 0b11],
        [SET_GAPS + 8, 2, 1, 0b11, 0b01],
        [UNSET_GAPS, 7, 1, 0b11],
        [SET_GAPS, 0, 0],
        [BITS, 0x82, 0x80, 0, 0b11, 0],
    ],
)
def test_a_form_larger_than_needed_is_read(code: list[int]):
    expected = Slow(list(code)).take_mask(9)
    assert decode(code, 9) == [expected]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([], "1 bytes were to follow, and 0 are left"),
        ([BITS], "1 bytes were to follow, and 0 are left"),
        ([BITS, 2, 0b11], "2 bytes were to follow, and 1 are left"),
        ([5, 0], "the form is 5, where 0 to 4 are known"),
        ([BITS + 8 * 3, 2, 0b11, 0], "the form 2 has the Rice parameter 3, where only gaps have one"),
        ([BITS, 11, 0b11, 0], "11 places are set, where the tensor has 10"),
        ([BITS, *[255] * 9, 1], f"{2**64 - 1} places are set, where the tensor has 10"),
        ([BITS, *[128] * 10, 0], "a number goes on behind its byte 10"),
        ([NONE, 1], "1 places are set, where none of 10 should be"),
        ([ALL, 9], "9 places are set, where all of 10 should be"),
        ([BITS, 2, 0b111, 0], "3 bits are set, where 2 places should be"),
        ([BITS, 2, 0b11, 0b100], "bits are set behind the last of 10"),
        ([SET_GAPS + 8 * 31, 1, 1, 1], "the Rice parameter is 31, too large for 1 gaps in 10 places"),
        ([SET_GAPS + 8, 10, 1, 1], "the Rice parameter is 1, too large for 10 gaps in 10 places"),
        ([SET_GAPS, 2, 3, 0, 0, 3], "the gaps take 3 bytes, where at most 2 can be"),
        (
            [SET_GAPS, 2, 255, 255, 3],
            f"the gaps take {127 + 128 * 127 + 128 * 128 * 3} bytes, where at most 2 can be",
        ),
        ([SET_GAPS, 2, 2, 3], "2 bytes were to follow, and 1 are left"),
        ([SET_GAPS, 2, 1, 0b111], "3 gaps are there, where 2 were expected"),
        ([UNSET_GAPS, 2, 1, 0b111], "3 gaps are there, where 8 were expected"),
        ([SET_GAPS, 2, 2, 0b11, 0], "the gaps end in 1 bytes, where 2 are given"),
        ([SET_GAPS, 0, 1, 0], "the gaps end in 0 bytes, where 1 are given"),
        ([SET_GAPS, 1, 2, 0, 0b1000], "the gaps lead beyond the tensor's 10 places"),
        ([SET_GAPS + 8 * 3, 1, 1, 0b10, 0b11], "the gaps lead to place 11 of a tensor of 10"),
        ([SET_GAPS + 8 * 2, 1, 1, 0b10, 0b111], "bits are set behind the last of 2"),
        ([SET_GAPS + 8 * 2, 1, 1, 0b10], "1 bytes were to follow, and 0 are left"),
    ],
)
def test_what_was_not_written_by_the_encoder_is_refused(code: list[int], reason: str):
    with pytest.raises(GraftError) as refusal:
        decode([NONE, 0, *code], 3, 10)
    assert str(refusal.value) == (
        f"The mask 'qu' cannot be read at tensor 2 of 2: {reason}. The places that polygraft wrote for tensors of "
        "these sizes were expected."
    )


def test_bytes_behind_the_last_mask_are_refused():
    with pytest.raises(GraftError) as refusal:
        decode([NONE, 0, ALL, 1, 7], 3, 1)
    assert str(refusal.value) == (
        "The mask 'qu' has 5 bytes, of which its masks take 4. One mask was expected for each of 2 tensors, and "
        "nothing behind them."
    )


def test_a_code_of_another_kind_is_refused():
    with pytest.raises(GraftError) as refusal:
        decode_places(torch.zeros(2, 2), sizes=[3], where="The mask 'qu'")
    assert str(refusal.value) == (
        "The mask 'qu' is a tensor of the dtype torch.float32 with 2 axes. The places of masks are one row of bytes "
        "(torch.uint8)."
    )


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(GraftError) as refusal:
        encode_places([torch.tensor([True]), torch.tensor([0.5])])
    assert str(refusal.value) == (
        "Mask 2 of 2 is of the dtype torch.float32. A mask says True or False for each place. Compare its values "
        "first, as in `values != 0`."
    )


def check_places(places: list[int], *, size: int) -> None:
    """Make sure that places are rising, in range, and those of a mask that can be written again."""
    assert places == sorted(set(places))
    assert all(0 <= place < size for place in places)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[places] = True
    assert decode(encode_places([mask]).tolist(), size) == [places]


changes = st.tuples(st.sampled_from(["change", "insert", "cut"]), st.integers(0, 400), st.integers(0, 255))


@settings(max_examples=500)
@given(st.lists(masks(), min_size=1, max_size=3), st.lists(changes, min_size=1, max_size=4))
def test_spoiled_bytes_give_true_places_or_a_sentence(some: list[Tensor], spoil: list[tuple[str, int, int]]):
    code, sizes = encode_places(some).tolist(), [mask.numel() for mask in some]
    for kind, position, byte in spoil:
        at = position % (len(code) + 1)
        code[at : at + (kind != "insert")] = [] if kind == "cut" else [byte]
    try:
        found = decode(code, *sizes)
    except GraftError as error:
        assert str(error).startswith("The mask 'qu' ")
        return
    for places, size in zip(found, sizes, strict=True):
        check_places(places, size=size)


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(0, 40))
def test_any_bytes_give_true_places_or_a_sentence(code: list[int], size: int):
    try:
        (places,) = decode(code, size)
    except GraftError:
        return
    check_places(places, size=size)


@pytest.mark.parametrize("form", [ALL, BITS, SET_GAPS, UNSET_GAPS])
def test_reading_takes_no_more_memory_than_the_tensor_allows(form: int):
    size = 100_000
    full, num_bytes = [0xA0, 0x8D, 0x06], [0xD4, 0x61]
    payload = {ALL: [], BITS: [255] * 12_500}.get(form, [*num_bytes, *[255] * 12_500])
    count = [0] if form == UNSET_GAPS else full
    code = torch.tensor([form, *count, *payload], dtype=torch.uint8)
    tracemalloc.start()
    (places,) = decode_places(code, sizes=[size], where="it")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(places) == (0 if form == UNSET_GAPS else size)
    assert peak < 64 * size


def test_entropy_is_that_of_the_counts():
    assert measure_entropy([]) == 0
    assert measure_entropy([(0, 0), (9, 0), (9, 9)]) == 0
    assert measure_entropy([(16, 8), (16, 4)]) == pytest.approx(2 + 16 * 0.811278 / 8)
