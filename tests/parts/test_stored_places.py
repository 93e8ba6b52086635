from __future__ import annotations

import pytest
import torch

from polygraft.errors import GraftError
from polygraft.parts.places import encode_places
from polygraft.parts.stored_places import StoredPlaces

MASKS = [torch.tensor([False, True, True]), torch.tensor([[True, False], [False, False]])]
SIZES = [3, 4]


def store(masks: list[torch.Tensor]) -> StoredPlaces:
    code = encode_places(masks)
    stored = StoredPlaces("delta", num_bytes=len(code))
    stored.get_buffer("code").copy_(code)
    return stored


def test_places_are_those_that_were_packed():
    assert [places.tolist() for places in store(MASKS).decode(SIZES, total=3)] == [[1, 2], [0]]


def test_places_are_unpacked_once():
    stored = store(MASKS)
    assert stored.decode(SIZES, total=3) is stored.decode(SIZES, total=3)


def test_another_code_is_unpacked_again():
    stored = store(MASKS)
    stored.decode(SIZES, total=3)
    stored.load_state_dict({"code": encode_places([~mask for mask in MASKS])})
    assert [places.tolist() for places in stored.decode(SIZES, total=4)] == [[0], [1, 2, 3]]


def test_the_code_is_all_that_is_stored():
    state = store(MASKS).state_dict()
    assert list(state) == ["code"]
    assert state["code"].dtype == torch.uint8


def test_a_fresh_one_has_no_places():
    """Zeros are the code of masks with nothing set, as long as there are two bytes for each."""
    assert [len(places) for places in StoredPlaces("mask", num_bytes=4).decode(SIZES, total=0)] == [0, 0]
    with pytest.raises(GraftError) as refused:
        StoredPlaces("mask", num_bytes=4).decode(SIZES, total=1)
    assert str(refused.value) == (
        "The places of the part 'mask' are 0, where 1 were expected by its other tensors."
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([255, 1], "tensor 1 of 2: the form is 7, where 0 to 4 are known"),
        ([2, 9], "tensor 1 of 2: 9 places are set, where the tensor has 3"),
        ([2, 2, 6, 2, 1], "tensor 2 of 2: 1 bytes were to follow, and 0 are left"),
        ([2, 1, 6, 0, 0], "tensor 1 of 2: 2 bits are set, where 1 places should be"),
    ],
)
def test_a_spoiled_code_is_refused(code: list[int], reason: str):
    stored = StoredPlaces("delta", num_bytes=len(code))
    stored.get_buffer("code").copy_(torch.tensor(code, dtype=torch.uint8))
    with pytest.raises(GraftError) as refused:
        stored.decode(SIZES, total=3)
    assert str(refused.value) == (
        f"The part 'delta' cannot be read at {reason}. The places that polygraft wrote for tensors of these sizes were "
        "expected."
    )
