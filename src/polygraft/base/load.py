"""Load a base from the hub, from a folder, or from the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from polygraft.base.attention import use_short_attention
from polygraft.base.base import Base
from polygraft.base.bundled import find_bundled_file, load_bundled
from polygraft.base.fingerprint import fingerprint_head, fingerprint_tokenizer, fingerprint_weights
from polygraft.base.int8 import INT8_UNITS, multiplies_int8, set_int8_forward
from polygraft.base.packed import gains_by_packing, pack_linear_layers
from polygraft.base.pretrained import load_pretrained
from polygraft.base.sites import find_sites
from polygraft.base.transposed import turn_into_linear
from polygraft.errors import BaseModelError, nearest
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from polygraft.base.pretrained_head import PretrainedHead

BUNDLED = "bundled"
FASTEST = "fastest"
BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16")
"""What PyTorch calls the units of x86 processors that multiply bfloat16 faster than float32."""
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}


def load_base(name: str, *, device: str = "auto", dtype: str = "auto", revision: str | None = None) -> Base:
    """Load a frozen base with its tokenizer.

    Args:
        name: A Hugging Face id, a local folder, or "bundled" for the base that the package brings.
        device: "auto" takes a GPU where there is one; of several processes on a machine, each takes its own.
        dtype: "auto" is float32, in which every check of this project is made; "fastest" is bfloat16
            where the processor multiplies it faster, else float32; "int8" is float32 with the forward of the
            frozen linear layers in int8, on processors that have units for it. Fingerprints are of the values
            before rounding, so a graft goes with its base in every dtype.
        revision: A commit or tag of the hub's repository; its commit is recorded with the grafts.

    Raises:
        BaseModelError: The name leads nowhere, the family is unknown, the files are not safetensors, or the device
            does not multiply int8.
        MissingExtraError: The bundled base's package is not installed.

    Example:
        >>> base = load_base("bundled")  # doctest: +SKIP
        >>> base.sites.num_layers  # doctest: +SKIP
        12
    """
    place = _choose_device(device)
    kind = _choose_dtype(dtype, place)
    if kind == torch.int8:
        # Before a large file is read.
        _refuse_int8(place)
    head: PretrainedHead | None = None
    commit: str | None = None
    if name == BUNDLED:
        model: PreTrainedModel
        model, tokenizer = load_bundled(find_bundled_file())
    else:
        model, head, tokenizer, commit = load_pretrained(name, revision=revision)
    return freeze_base(
        name=name, model=model, tokenizer=tokenizer, head=head, revision=commit, device=place, dtype=kind
    )


def freeze_base(
    *,
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    head: PretrainedHead | None = None,
    revision: str | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Base:
    """Make a base of a bare encoder that is already in memory.

    Args:
        name: What manifests call it.
        model: A bare encoder (no task head) of a supported family.
        tokenizer: A fast tokenizer.
        head: Its own head that scores pieces, if it has one.
        revision: The commit it came from.
        device: Where to put it; None leaves it where it is.
        dtype: What to round it to; None leaves it as it is. With int8 it becomes float32, and only the forward of
            its linear layers is in int8.

    Raises:
        BaseModelError: The family is unknown, a weight is not a number, or the device does not multiply int8.
    """
    turn_into_linear(model)
    sites = find_sites(model)
    _refuse_non_numbers(name, model)
    fingerprint = fingerprint_weights(model.named_parameters(), model.config)
    words = sites.word_embeddings.weight
    is_tied = head is not None and head.weight.data_ptr() == words.data_ptr()
    head_fingerprint = None if head is None else fingerprint_head(head, is_tied=is_tied)
    is_int8 = dtype == torch.int8
    if is_int8:
        _refuse_int8(device or model.device)
    model.to(device=device, dtype=torch.float32 if is_int8 else dtype)  # pyright: ignore[reportCallIssue]
    model.eval().requires_grad_(False)
    if is_int8:
        set_int8_forward(model)
    elif gains_by_packing(model.device, model.dtype):
        pack_linear_layers(model)
    if model.device.type == "cpu" and model.dtype == torch.bfloat16:
        # On short rows PyTorch's fused attention takes twice the time of a whole training step there.
        model.set_attn_implementation("eager")
    elif not sites.is_causal:
        use_short_attention(model)
    if head is not None:
        if is_tied:
            # Moving or rounding each by itself would keep the largest matrix twice.
            head.weight.data = sites.word_embeddings.weight.data
        head.to(device=model.device, dtype=model.dtype).eval().requires_grad_(False)
    return Base(
        name=name,
        revision=revision,
        model=model,
        tokenizer=tokenizer,
        sites=sites,
        head=head,
        fingerprint=fingerprint,
        tokenizer_fingerprint=fingerprint_tokenizer(tokenizer),
        head_fingerprint=head_fingerprint,
        is_int8=is_int8,
    )


def _refuse_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise BaseModelError(
            f"The base is to be in int8 on the device '{device}', and only processors multiply int8 here. Expected "
            "the device cpu, or another dtype. Pass device 'cpu' or dtype 'bfloat16'."
        )
    if not multiplies_int8(device):
        raise BaseModelError(
            "The base is to be in int8, and this processor, or this PyTorch, has no units for it. Expected one of "
            f"{', '.join(INT8_UNITS)}, and a PyTorch with oneDNN. Pass dtype 'float32'."
        )


def _refuse_non_numbers(name: str, model: PreTrainedModel) -> None:
    for key, weight in model.named_parameters():
        # The two extremes are NaN where any value is, and no copy of the weights is made.
        low, high = torch.aminmax(weight.detach())
        if not (low.isfinite() and high.isfinite()):
            raise BaseModelError(
                f"The base '{name}' has a tensor '{key}' with values that are infinite or not a number. Expected "
                "numbers. Its file is damaged: download it again."
            )


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    launch = load_launch()
    if device == "cuda" and launch.count > 1:
        device = f"cuda:{launch.local_index}"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise BaseModelError(
            f"'{device}' is not a device. Expected auto, cpu, cuda or cuda:N. Pass one of these."
        ) from None
    num_gpus = torch.cuda.device_count()
    if place.type == "cuda" and (place.index or 0) >= num_gpus:
        raise BaseModelError(
            f"There is no device '{device}': this machine, or this PyTorch, has {num_gpus} GPUs. Expected "
            "auto, cpu, "
            "or cuda:N with a smaller N. Pass one of these."
        )
    if not can_compute_on(place):
        raise BaseModelError(
            f"This PyTorch can keep no values on the device '{device}' here. Expected auto, cpu, cuda or cuda:N. Pass "
            "one of these, or install the PyTorch that is made for the device."
        )
    return place


def can_compute_on(device: torch.device) -> bool:
    """Whether values can be put on a device and come back: PyTorch knows the names of many that are not there."""
    try:
        return float(torch.ones(1, device=device).cpu()) == 1.0
    except (RuntimeError, AssertionError, ImportError):
        # Which of them it is differs from one kind of device to the next.
        return False


def _choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float32
    if dtype == FASTEST:
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise BaseModelError(
            f"'{dtype}' is not a dtype for a base. Expected auto, {FASTEST}, {', '.join(DTYPES)}."
            f"{nearest(dtype, DTYPES)} Pass one of these."
        )
    return DTYPES[dtype]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run on units of their own: tensor cores, AMX tiles, AVX-512's bfloat16 dot products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name, False) for name in BFLOAT16_UNITS)
