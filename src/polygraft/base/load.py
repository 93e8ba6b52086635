"""Load a base from the hub, from a folder, or from the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub.errors import HFValidationError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from polygraft.base.base import Base
from polygraft.base.bundled import find_bundled_file, load_bundled
from polygraft.base.fingerprint import fingerprint_tokenizer, fingerprint_weights
from polygraft.base.masked_lm_head import PretrainedHead, find_head
from polygraft.base.sites import Family, find_family, find_sites
from polygraft.errors import BaseModelError, nearest

if TYPE_CHECKING:
    from transformers import PretrainedConfig

BUNDLED = "bundled"
FASTEST = "fastest"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_base(name: str, *, device: str = "auto", dtype: str = "auto", revision: str | None = None) -> Base:
    """Load a frozen base with its tokenizer.

    Args:
        name: A Hugging Face id, a local folder, or "bundled" for the base that the package brings.
        device: "auto" takes a GPU where there is one.
        dtype: "auto" is float32, in which every check of this project is made; "fastest" is bfloat16 where the
            processor multiplies it faster, else float32. Fingerprints are of the values before rounding, so a
            graft goes with its base in every dtype.
        revision: A commit or tag of the hub's repository; its commit is recorded with the grafts.

    Raises:
        BaseModelError: The name leads nowhere, the family is unknown, or the files are not safetensors.
        MissingExtraError: The bundled base's package is not installed.

    Example:
        >>> base = load_base("bundled")  # doctest: +SKIP
        >>> base.sites.num_layers  # doctest: +SKIP
        12
    """
    place = _choose_device(device)
    kind = _choose_dtype(dtype, place)
    head: PretrainedHead | None = None
    commit: str | None = None
    if name == BUNDLED:
        model: PreTrainedModel
        model, tokenizer = load_bundled(find_bundled_file())
    else:
        model, head, tokenizer, commit = _load_pretrained(name, revision)
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
        head: Its own masked-LM head, if it has one.
        revision: The commit it came from.
        device: Where to put it; None leaves it where it is.
        dtype: What to round it to; None leaves it as it is.
    """
    sites = find_sites(model)
    fingerprint = fingerprint_weights(model.named_parameters(), model.config)
    model.to(device=device, dtype=dtype)  # pyright: ignore[reportCallIssue, reportArgumentType]
    model.eval().requires_grad_(False)
    if head is not None:
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
    )


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise BaseModelError(
            f"'{device}' is not a device. Expected auto, cpu, cuda or cuda:N. Pass one of these."
        ) from None


def _choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float32
    if dtype == FASTEST:
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise BaseModelError(
            f"'{dtype}' is not a dtype for a base. Expected auto, {FASTEST}, {', '.join(DTYPES)}."
            f"{nearest(dtype, DTYPES)} Pass one of these."
        )
    return DTYPES[dtype]


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run on units of their own: tensor cores, or a processor's AMX tiles."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _load_pretrained(
    name: str, revision: str | None
) -> tuple[PreTrainedModel, PretrainedHead | None, PreTrainedTokenizerFast, str | None]:
    """Load with transformers: safetensors only, no code from the repository."""
    looks_like_path = Path(name).is_dir() or name.startswith((".", "/", "~"))
    if looks_like_path and not Path(name).expanduser().is_dir():
        raise BaseModelError(
            f"There is no folder '{name}'. Expected a Hugging Face id, a local folder with config.json and "
            "model.safetensors, or 'bundled'. Check the path."
        )
    source = str(Path(name).expanduser()) if looks_like_path else name
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            source, revision=revision, trust_remote_code=False
        )
        family = find_family(str(config.model_type))
        model, head = _load_weights(source, revision, config, family)
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError, HFValidationError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseModelError(
            f"The base '{name}' cannot be loaded: {first_line} Expected a Hugging Face id, a local folder with "
            "config.json, model.safetensors and tokenizer.json, or 'bundled'. Check the name, or the network."
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BaseModelError(
            f"The base '{name}' has only a slow tokenizer ({type(tokenizer).__name__}). Expected a "
            "tokenizer.json. Save one with `tokenizer.save_pretrained` from a fast tokenizer."
        )
    commit = _find_commit(config)
    return model, head, tokenizer, commit


def _find_commit(config: PretrainedConfig) -> str | None:
    commit = vars(config).get("_commit_hash")
    return None if commit is None else str(commit)


def _load_weights(
    source: str, revision: str | None, config: PretrainedConfig, family: Family
) -> tuple[PreTrainedModel, PretrainedHead | None]:
    has_head = any("ForMaskedLM" in str(kind) for kind in config.architectures or ())
    options = {
        "revision": revision,
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": torch.float32,
    }
    if has_head:
        whole = AutoModelForMaskedLM.from_pretrained(source, **options)
        return whole.base_model, find_head(whole, family.heads)
    if family.has_pooler:
        # A pooler that the file lacks would be filled with random values: leave it out always.
        options["add_pooling_layer"] = False
    return AutoModel.from_pretrained(source, **options), None
