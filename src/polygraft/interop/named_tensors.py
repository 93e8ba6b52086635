"""Tensors by name, from files of `torch.save` and of safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from polygraft.errors import DataError
from polygraft.interop.source import Source
from polygraft.interop.torch_file import read_torch_file

FORMATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""The kinds of numbers that another library's tensors may have; they become float32."""


def read_tensors(source: Source, *, names: tuple[str, str]) -> dict[str, Tensor]:
    """Read the tensors of a folder, in float32.

    Args:
        source: The folder.
        names: What the file is called as safetensors, and as a file of `torch.save`; the first that is there is read.

    Raises:
        DataError: Neither is there, or what is there is damaged, or holds anything but finite numbers.
    """
    safe, pickled = names
    if not source.has(safe) and source.has(pickled):
        where = f"{source.where}/{pickled}"
        return check_tensors(read_torch_file(source.read(pickled), where=where), where=where)
    where = f"{source.where}/{safe}"
    return check_tensors(parse_safetensors(source.read(safe), where=where), where=where)


def parse_safetensors(data: bytes, *, where: str) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file as they are.

    Raises:
        DataError: It is damaged.
    """
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            f"{where} is no safetensors file: {error}. Expected tensors by name. Get the file again from where it was "
            "made."
        ) from None


def check_tensors(found: object, *, where: str) -> dict[str, Tensor]:
    """Give tensors by name in float32, or refuse what is none.

    Raises:
        DataError: Something is no dictionary of finite numbers by name.
    """
    if not isinstance(found, dict):
        raise DataError(
            f"{where} holds {type(found).__name__}. Expected tensors by name, as `torch.save(state_dict)` writes "
            "them. Get the file again from where it was made."
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dtype not in FORMATS:
            kind = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            listed = ", ".join(str(dtype).removeprefix("torch.") for dtype in FORMATS)
            raise DataError(
                f"{where} has {str(name)[:200]!r} of the kind {kind}. Expected tensors of {listed}. Get the file "
                "again from where it was made."
            )
        tensors[name] = check_numbers(tensor.detach(), where=f"{where}, '{name}'")
    # In one order, whatever that of the file is.
    return dict(sorted(tensors.items()))


def check_numbers(tensor: Tensor, *, where: str) -> Tensor:
    """Give a tensor in float32, or refuse values that are not numbers.

    Raises:
        DataError: A value is infinite or not a number.
    """
    plain = tensor.to(torch.float32).contiguous()
    wrong = int((~torch.isfinite(plain)).sum())
    if wrong:
        raise DataError(
            f"{where}: {wrong} of {plain.numel()} values are infinite or not a number. Expected numbers. The training "
            "that made them went wrong, or the file is damaged: get another."
        )
    return plain


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as the other libraries do, with the format that they look for."""
    data = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, {"format": "pt"}
    )
    path.write_bytes(data)
