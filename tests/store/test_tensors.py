from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from polygraft.errors import StoreError
from polygraft.store.tensors import (
    DTYPES,
    check_tensors,
    count_parameters,
    describe,
    read_tensors,
    write_tensors,
)


def written(tensors: dict[str, Tensor]) -> bytes:
    file = io.BytesIO()
    write_tensors(tensors, file)
    return file.getvalue()


def one_of_each() -> dict[str, Tensor]:
    values = torch.tensor([[0, 1, 2], [3, 4, 5]])
    many = {code.lower(): values.to(dtype) for code, dtype in DTYPES.items()}
    return {**many, "scalar": torch.tensor(2.5), "empty": torch.empty(0, 4)}


def read_back(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    with path.open("wb") as file:
        result = write_tensors(tensors, file)
    with path.open("rb") as file:
        return read_tensors(
            file,
            where=path.name,
            expected=describe(tensors),
            num_bytes=result.num_bytes,
            sha256=result.sha256,
        )


def test_every_dtype_and_shape_comes_back_equal(tmp_path: Path):
    tensors = one_of_each()
    found = read_back(tensors, tmp_path / "x.safetensors")
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_order_of_the_tensors_does_not_change_the_bytes():
    tensors = one_of_each()
    assert written(dict(reversed(tensors.items()))) == written(tensors)


def test_a_known_tensor_gives_known_bytes():
    header = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    padded = header + b" " * (-len(header) % 8)
    expected = len(padded).to_bytes(8, "little") + padded + bytes.fromhex("0000803f000000c0")
    assert written({"a": torch.tensor([1.0, -2.0])}) == expected


def test_the_safetensors_library_reads_the_same_numbers():
    tensors = one_of_each()
    found = safetensors.torch.load(written(tensors))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_views_transposes_and_shared_memory_are_written_by_value(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"turned": whole.T, "row": whole[1], "same": whole[1], "grad": whole.clone().requires_grad_()}
    found = read_back(tensors, tmp_path / "x.safetensors")
    assert found["turned"].tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert found["row"].tolist() == found["same"].tolist() == [4, 5, 6, 7]
    assert not found["grad"].requires_grad
    found["row"].zero_()
    assert found["same"].tolist() == [4, 5, 6, 7]


def test_only_floating_point_numbers_count_as_parameters():
    assert count_parameters({"a": torch.zeros(2, 3), "bits": torch.zeros(9, dtype=torch.uint8)}) == 6


@pytest.mark.parametrize("name", ["", "a b", "a\n", "ñ", "__metadata__", "a" * 513])
def test_a_bad_tensor_name_is_refused(name: str):
    with pytest.raises(StoreError, match=r"^Graft 'x' has a tensor named .* Name it otherwise\.$"):
        check_tensors({name: torch.zeros(1)}, where="Graft 'x'")


def test_nan_is_counted():
    with pytest.raises(StoreError) as caught:
        check_tensors({"a": torch.tensor([1.0, float("nan"), float("inf")])}, where="Graft 'x'")
    assert str(caught.value) == (
        "Graft 'x' has the tensor 'a' with numbers that are NaN or infinite: 2 of 3. Finite numbers were expected. "
        "Train the graft again, with a lower learning rate if its loss went up."
    )


def test_a_complex_tensor_is_refused():
    with pytest.raises(StoreError) as caught:
        check_tensors({"a": torch.zeros(1, dtype=torch.complex64)}, where="Graft 'x'")
    assert str(caught.value) == (
        "Graft 'x' has the tensor 'a' of kind complex64 (torch.strided). Dense tensors of float64, float32, "
        "float16, bfloat16, int64, int32, int16, int8, uint8, bool can be stored. Convert it first."
    )


def test_a_tensor_without_numbers_or_of_a_sparse_layout_is_refused():
    for tensor in (torch.zeros(1, device="meta"), torch.zeros(2, 2).to_sparse()):
        with pytest.raises(StoreError, match=r"^Graft 'x' has the tensor 'a' of kind "):
            check_tensors({"a": tensor}, where="Graft 'x'")


def test_no_tensors_at_all_are_refused():
    with pytest.raises(StoreError) as caught:
        check_tensors({}, where="Graft 'x'")
    assert str(caught.value) == (
        "Graft 'x' has no tensors, so it would change nothing. At least one was expected. Train it first."
    )


def test_a_file_that_shrinks_while_it_is_read_gets_a_sentence(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.zeros(1_000_000)}
    with path.open("wb") as file:
        result = write_tensors(tensors, file)

    class Shrinking(io.BufferedReader):
        def readinto(self, buffer: Any, /) -> int:
            os.truncate(path, 100_000)
            return super().readinto(buffer)

    with (
        Shrinking(io.FileIO(path)) as file,
        pytest.raises(StoreError, match="it ended while it was read"),
    ):
        read_tensors(
            file,
            where="x",
            expected=describe(tensors),
            num_bytes=result.num_bytes,
            sha256=result.sha256,
        )
