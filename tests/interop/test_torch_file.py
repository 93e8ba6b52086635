"""Files of `torch.save`, read as torch reads them and without running anything."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.torch_file import read_torch_file

FORMATS = Path(__file__).parent.parent / "formats"
NEXT = (
    "Expected what `torch.save` writes of tensors by name; nothing in it was run. Get it again from where it was "
    "made."
)


def save(value: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def read(data: bytes) -> object:
    return read_torch_file(data, where="a.bin")


def equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    return a == b


def make_values() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(6, 5, generator=generator)
    return OrderedDict(
        plain=dense,
        turned=dense.T,
        part=dense[2:4, 1:],
        single=torch.tensor(3.5),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2), requires_grad=False),
        **{
            str(dtype): dense.to(dtype)
            for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
        },
    )


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_tensors_come_back_as_they_were_saved(is_zip: bool):
    values = make_values()
    assert equal(read(save(values, _use_new_zipfile_serialization=is_zip)), values)


def test_a_layers_state_comes_back():
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    assert equal(read(save(state)), dict(state))


@pytest.mark.parametrize("file", sorted(FORMATS.rglob("*.bin")), ids=lambda file: f"{file.parent.name}")
def test_the_files_of_other_libraries_come_back_as_torch_reads_them(file: Path):
    is_pickled = file.name == "pytorch_diff.bin"
    found, wanted = read(file.read_bytes()), torch.load(file, weights_only=not is_pickled)
    if is_pickled:
        for diff in wanted["diffs"].values():
            diff["size"], diff["index_steps"] = (
                tuple(diff["size"]),
                [int(step) for step in diff["index_steps"]],
            )
    assert equal(found, wanted)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_a_file_that_would_run_a_command_runs_nothing(tmp_path: Path, is_zip: bool):
    ran = tmp_path / "ran"
    data = save({"weights": Runs(ran)}, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(DataError) as caught:
        read(data)
    assert "it names 'posix.system'" in str(caught.value) if is_zip else str(caught.value).endswith(NEXT)
    assert not ran.exists()


def rewrite(data: bytes, change: dict[str, bytes | None], *, compress: int = zipfile.ZIP_STORED) -> bytes:
    """Write torch's zip anew with other entries; None leaves one out."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", compression=compress) as new:
        for info in old.infolist():
            name = info.filename.partition("/")[2]
            content = change[name] if name in change else old.read(info)
            if content is not None:
                new.writestr(f"archive/{name}", content)
    return file.getvalue()


WHOLE = save({"w": torch.arange(4.0)})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (WHOLE[:100], "BadZipFile, File is not a zip file"),
        (
            rewrite(WHOLE, {"data/0": None}),
            "the entry 'data/0' is not whole (KeyError, \"There is no item named 'archive/data/0' in the archive\")",
        ),
        (rewrite(WHOLE, {"data.pkl": None}), "its zip holds 0 pickles of 6 entries, one was expected"),
        (
            rewrite(WHOLE, {}, compress=zipfile.ZIP_DEFLATED),
            "the entry 'byteorder' is compressed, where torch compresses none",
        ),
        (
            rewrite(WHOLE, {"byteorder": b"big"}),
            "its numbers have the byte order b'big', and this machine's is little",
        ),
    ],
)
def test_a_damaged_zip_is_refused_in_a_sentence(data: bytes, reason: str):
    with pytest.raises(DataError) as caught:
        read(data)
    assert str(caught.value) == f"a.bin cannot be read as a file of tensors: {reason}. {NEXT}"


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x02", pickle.dumps({"a": 1}), b"{}" * 100])
def test_what_is_no_file_of_torch_is_refused_in_a_sentence(data: bytes):
    with pytest.raises(DataError) as caught:
        read(data)
    assert str(caught.value).startswith("a.bin cannot be read as a file of tensors: ")
    assert str(caught.value).endswith(NEXT)


def change_pickle(old: bytes, new: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        text = archive.read("archive/data.pkl")
    assert text.count(old) == 1
    return rewrite(WHOLE, {"data.pkl": text.replace(old, new)})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (rewrite(WHOLE, {"data/0": b"\0" * 12}), "the storage 0 has 12 bytes, where 16 were expected"),
        (
            change_pickle(b"K\x04\x85", b"K\x05\x85"),
            "a tensor of the shape [5] is larger than its 4 numbers",
        ),
        (
            change_pickle(b"K\x01\x85", b"K\x02\x85"),
            "a tensor of the shape [4] is larger than its 4 numbers",
        ),
        (change_pickle(b"K\x01\x85", b"J\xff\xff\xff\xff\x85"), "sizes are not whole numbers of 0 or more"),
        (change_pickle(b"FloatStorage", b"GhostStorage"), "it names 'torch.GhostStorage'"),
    ],
)
def test_a_tensor_that_lies_about_its_size_is_refused(data: bytes, reason: str):
    with pytest.raises(DataError) as caught:
        read(data)
    assert f", {reason}" in str(caught.value)
    assert str(caught.value).startswith("a.bin is not what torch writes for tensors: at byte ")
