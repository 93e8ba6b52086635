"""Grafts as folders that AdapterHub's library reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.adapterhub import CONFIG, HEAD_CONFIG, HEAD_WEIGHTS, WEIGHTS
from polygraft.interop.adapterhub_heads import name_head_tensors, write_head_config
from polygraft.interop.adapterhub_linear import write_linear_options
from polygraft.interop.adapterhub_names import find_places, write_name
from polygraft.interop.adapterhub_prefix import add_copies, write_prefix_options
from polygraft.interop.heads import DECODER
from polygraft.interop.named_tensors import write_safetensors
from polygraft.parts.bottleneck import LEARNED, Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.prefix import Prefix

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

VERSION = "adapters.1.3.0"
"""The release whose keys and meanings the files have."""
MODEL_CLASSES: Mapping[str, str] = {
    "bert": "BertAdapterModel",
    "roberta": "RobertaAdapterModel",
    "xlm-roberta": "XLMRobertaAdapterModel",
    "electra": "ElectraAdapterModel",
    "distilbert": "DistilBertAdapterModel",
    "deberta-v2": "DebertaV2AdapterModel",
}
"""By a base's `model_type`."""
KNOWN = "bottlenecks, perhaps with an invertible part, or one compacter, lora, ia3 or prefix, and a head"
DEFAULTS: Mapping[str, object] = {
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "dropout": 0.0,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": None,
    "learn_phm": True,
    "ln_after": False,
    "ln_before": False,
    "original_ln_after": True,
    "output_adapter": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_layer": False,
    "phm_rank": 1,
    "residual_before_ln": True,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "stochastic_depth": 0.0,
    "use_gating": False,
}
"""The options that every bottleneck and Compacter of polygraft has alike, but for those that say it is one."""


def export_adapterhub(base: Base, graft: Graft, folder: Path, *, safetensors: bool = False) -> list[Path]:
    """Write a graft as AdapterHub does: an adapter, a head, or both.

    An adapter is bottlenecks, perhaps with an invertible part, or one Compacter, LoRA, (IA)3 or prefix.

    Args:
        base: The base that it is for.
        graft: The graft; the adapter and the head get its name.
        folder: Where the files go; it is made if it is not there.
        safetensors: Whether to write safetensors, which that library reads with `use_safetensors=True` only.

    Returns:
        The files.

    Raises:
        DataError: That library has no adapters in bases of the family.
        GraftError: The graft has parts or options that it does not know.
    """
    _check_parts(base, graft)
    places = find_places(base.sites.family.name)
    prefix = f"{base.model.base_model_prefix}."
    about = _describe_base(base, graft)
    adapter = {
        theirs: _fit(own, tensor)
        for own, tensor in graft.tensors().items()
        if (theirs := write_name(own, name=graft.name, places=places)) is not None
    }
    if any(isinstance(part, Prefix) for part in graft.parts):
        # An adapter has no other part beside it.
        family, num_layers = base.sites.family.name, base.sites.num_layers
        adapter = add_copies(adapter, places=places, family=family, num_layers=num_layers)
    adapter = {f"{prefix}{theirs}": tensor for theirs, tensor in adapter.items()}
    head = next((part for part in graft.parts if isinstance(part, Head)), None)
    config = _write_options(base, graft) if adapter else None
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    if adapter:
        document = {**about, "config": config}
        written += _write(folder, CONFIG, document, WEIGHTS, adapter, safetensors=safetensors)
    if head is not None:
        sites = base.sites
        document = {
            **about,
            "config": write_head_config(head, vocab=sites.vocab, embedding=sites.embedding),
        }
        own = {
            name.removeprefix(f"{Head.kind}."): tensor
            for name, tensor in graft.tensors().items()
            if name.startswith(f"{Head.kind}.")
        }
        own[DECODER] = sites.word_embeddings.weight.detach()
        tensors = name_head_tensors(head, own, name=graft.name)
        written += _write(folder, HEAD_CONFIG, document, HEAD_WEIGHTS, tensors, safetensors=safetensors)
    return written


def _write(
    folder: Path,
    config: str,
    document: Mapping[str, object],
    weights: tuple[str, str],
    tensors: Mapping[str, Tensor],
    *,
    safetensors: bool,
) -> list[Path]:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / config).write_text(text, encoding="utf-8")
    path = folder / weights[0 if safetensors else 1]
    if safetensors:
        write_safetensors(path, tensors)
    else:
        torch.save({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}, path)
    return [folder / config, path]


def _describe_base(base: Base, graft: Graft) -> dict[str, object]:
    kind = str(base.model.config.model_type)
    if kind not in MODEL_CLASSES:
        raise GraftError(
            f"The graft '{graft.name}' is for a base of the type {kind}, in which AdapterHub has no adapters that are "
            f"known here. Expected one of {', '.join(MODEL_CLASSES)}. Export a graft of such a base."
        )
    return {
        "hidden_size": base.sites.hidden,
        "model_class": MODEL_CLASSES[kind],
        "model_name": base.name,
        "model_type": kind,
        "name": graft.name,
        "version": VERSION,
    }


def _fit(own: str, tensor: Tensor) -> Tensor:
    """Give a tensor as that library's file holds it: factors as a column, plain values of a prefix as one row."""
    if own.startswith(f"{IA3.kind}."):
        return tensor[:, None]
    return tensor.flatten() if own == f"{Prefix.kind}.source.values" else tensor


def _check_parts(base: Base, graft: Graft) -> None:
    """Refuse what that library would read as something else."""
    name = graft.name
    if "." in name:
        raise GraftError(
            f"The graft '{name}' has a dot in its name, and an adapter's name may have none. Expected another name. "
            "Rename it with `polygraft grafts rename`."
        )
    for part in graft.parts:
        if not isinstance(part, Bottleneck | Invertible | Head | Compacter | Lora | IA3 | Prefix):
            raise GraftError(
                f"The graft '{name}' has the part '{part.kind}', which is not written for AdapterHub. Expected "
                f"{KNOWN}. Export another graft."
            )
    others = [part for part in graft.parts if not isinstance(part, Head)]
    if len(others) > 1 and not all(isinstance(part, Bottleneck | Invertible) for part in others):
        raise GraftError(
            f"The graft '{name}' has the parts {', '.join(part.kind for part in others)}, and an adapter of that "
            f"library is one of them. Expected {KNOWN}. Export another graft."
        )
    bottlenecks = [part for part in graft.parts if isinstance(part, Bottleneck)]
    invertibles = [part for part in graft.parts if isinstance(part, Invertible)]
    heads = [part for part in graft.parts if isinstance(part, Head)]
    shared = {(part.activation, part.placement, _show_scale(part), part.semantics) for part in bottlenecks}
    if len(shared) > 1 or any(part.semantics != "adapterhub" for part in bottlenecks):
        raise GraftError(
            f"The graft '{name}' has bottlenecks with {_tell(bottlenecks)}. Expected one activation, placement and "
            "scaling, and semantics='adapterhub', which are what that library computes. Export another graft."
        )
    if _count_layers(base, bottlenecks) > len(_find_layers(base, bottlenecks)):
        raise GraftError(
            f"The graft '{name}' has two bottlenecks in one layer. Expected one in each at most. Export another graft."
        )
    if len(invertibles) > 1 or (invertibles and not bottlenecks):
        raise GraftError(
            f"The graft '{name}' has {len(invertibles)} invertible parts and {len(bottlenecks)} bottlenecks. Expected "
            "one invertible part beside a bottleneck at most. Export another graft."
        )
    if invertibles and invertibles[0].activation != bottlenecks[0].activation:
        raise GraftError(
            f"The graft '{name}' has an invertible part with the activation {invertibles[0].activation} and a "
            f"bottleneck with {bottlenecks[0].activation}. Expected one, as that library has. Export another graft."
        )
    if any(head.layer != -1 for head in heads):
        raise GraftError(
            f"The head of the graft '{name}' reads layer {heads[0].layer}. Expected -1, the last hidden state, as "
            "heads of that library do. Train a head that reads the last layer."
        )


def _tell(bottlenecks: Sequence[Bottleneck]) -> str:
    return " and ".join(
        f"activation={part.activation}, placement={part.placement}, scaling={_show_scale(part)}, "
        f"semantics={part.semantics}"
        for part in bottlenecks
    )


def _show_scale(part: Bottleneck) -> str:
    return "learned" if part.scaling == LEARNED else f"{part.scale:g}"


def _find_layers(base: Base, bottlenecks: Sequence[Bottleneck]) -> dict[int, Bottleneck]:
    return {layer: part for part in bottlenecks for layer in part.find_layers(base.sites.num_layers)}


def _count_layers(base: Base, bottlenecks: Sequence[Bottleneck]) -> int:
    return sum(len(part.find_layers(base.sites.num_layers)) for part in bottlenecks)


def _write_options(base: Base, graft: Graft) -> dict[str, object]:
    num_layers = base.sites.num_layers
    for part in graft.parts:
        if isinstance(part, Lora | IA3):
            return write_linear_options(part, name=graft.name, num_layers=num_layers)
        if isinstance(part, Prefix):
            return write_prefix_options(part, name=graft.name, num_layers=num_layers)
        if isinstance(part, Compacter):
            return _write_compacter(part, num_layers=num_layers)
    return _write_bottlenecks(base, graft)


def _write_compacter(part: Compacter, *, num_layers: int) -> dict[str, object]:
    return {
        **DEFAULTS,
        "factorized_phm_W": part.rank is not None,
        "inv_adapter": None,
        "inv_adapter_reduction_factor": None,
        "is_parallel": False,
        "leave_out": sorted({layer % num_layers for layer in part.skip_layers}),
        "mh_adapter": part.placement == "attention+ffn",
        "non_linearity": part.activation,
        "original_ln_before": part.placement == "ffn",
        "phm_dim": part.terms,
        "phm_layer": True,
        "phm_rank": 1 if part.rank is None else part.rank,
        "reduction_factor": part.reduction,
        "scaling": 1.0,
        "shared_phm_rule": part.shared,
    }


def _write_bottlenecks(base: Base, graft: Graft) -> dict[str, object]:
    bottlenecks = [part for part in graft.parts if isinstance(part, Bottleneck)]
    invertible = next((part for part in graft.parts if isinstance(part, Invertible)), None)
    by_layer, first = _find_layers(base, bottlenecks), bottlenecks[0]
    factors = {str(layer): part.reduction for layer, part in sorted(by_layer.items())}
    is_one = len(set(factors.values())) == 1
    return {
        **DEFAULTS,
        "inv_adapter": None if invertible is None else "nice",
        "inv_adapter_reduction_factor": None if invertible is None else invertible.reduction,
        "is_parallel": first.placement == "parallel",
        "leave_out": [layer for layer in range(base.sites.num_layers) if layer not in by_layer],
        "mh_adapter": first.placement == "attention+ffn",
        "non_linearity": first.activation,
        "original_ln_before": first.placement == "ffn",
        "reduction_factor": cast("object", first.reduction if is_one else factors),
        "scaling": LEARNED if first.scaling == LEARNED else float(first.scale),
    }
