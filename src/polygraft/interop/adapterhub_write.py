"""What a graft is as an AdapterHub configuration: one architecture, or a union of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from polygraft.errors import GraftError
from polygraft.interop.adapterhub_linear import write_linear_options
from polygraft.interop.adapterhub_parts import UNION, find_clash, list_layers
from polygraft.interop.adapterhub_prefix import write_prefix_options
from polygraft.parts.bottleneck import LEARNED, Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.prefix import Prefix
from polygraft.parts.prompt import Prompt

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.parts.part import Part

KNOWN = "bottlenecks, perhaps with an invertible part, compacter, lora, ia3 and prefix, and a head, or a fusion alone"
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


def check_parts(base: Base, graft: Graft) -> None:
    """Refuse what that library would read as something else.

    Raises:
        GraftError: There is something.
    """
    name = graft.name
    if "." in name:
        raise GraftError(
            f"The graft '{name}' has a dot in its name, and an adapter's name may have none. Expected another name. "
            "Rename it with `polygraft grafts rename`."
        )
    for part in graft.parts:
        if isinstance(part, Prompt):
            raise GraftError(
                f"The graft '{name}' has a prompt, which stands before the embeddings, with positions and their norm; "
                f"that library puts one behind them, without. Expected {KNOWN}. Export another graft."
            )
        if not isinstance(part, Bottleneck | Invertible | Head | Compacter | Lora | IA3 | Prefix | Fusion):
            raise GraftError(
                f"The graft '{name}' has the part '{part.kind}', which is not written for AdapterHub. Expected "
                f"{KNOWN}. Export another graft."
            )
        if isinstance(part, Bottleneck) and part.semantics != "adapterhub":
            raise GraftError(
                f"The graft '{name}' has a bottleneck with semantics='{part.semantics}'. Expected "
                "semantics='adapterhub', which is what that library computes. Export another graft."
            )
        if isinstance(part, Head) and part.layer != -1:
            raise GraftError(
                f"The head of the graft '{name}' reads layer {part.layer}. Expected -1, the last hidden state, as "
                "heads of that library do. Train a head that reads the last layer."
            )
    if len(graft.parts) > 1 and any(isinstance(part, Fusion) for part in graft.parts):
        raise GraftError(
            f"The graft '{name}' has the parts {', '.join(part.kind for part in graft.parts)}, and a fusion of that "
            f"library has a folder of its own. Expected {KNOWN}. Export another graft."
        )
    clash = find_clash(graft.parts, num_layers=base.sites.num_layers)
    if clash is not None:
        raise GraftError(
            f"The graft '{name}' has {clash}, and that library has one at most. Expected {KNOWN}. Export another graft."
        )
    _check_invertible(graft)


def _check_invertible(graft: Graft) -> None:
    invertible = next((part for part in graft.parts if isinstance(part, Invertible)), None)
    found = [part for part in graft.parts if isinstance(part, Bottleneck | Compacter)]
    if invertible is None or any(part.activation == invertible.activation for part in found):
        return
    others = f"bottlenecks with {', '.join(part.activation for part in found)}" if found else "no bottleneck"
    raise GraftError(
        f"The graft '{graft.name}' has an invertible part with the activation {invertible.activation} and {others}. "
        "Expected a bottleneck with the same, as that library has one for both. Export another graft."
    )


def write_configuration(base: Base, graft: Graft) -> dict[str, object]:
    """Give the configuration of a graft's parts, which are known to be fit for it.

    Raises:
        GraftError: A part does what that library does not.
    """
    num_layers = base.sites.num_layers
    invertible = next((part for part in graft.parts if isinstance(part, Invertible)), None)
    configs: list[dict[str, object]] = []
    written: list[Part] = []
    for part in graft.parts:
        if part in written:
            continue
        if isinstance(part, Lora | IA3):
            configs.append(write_linear_options(part, name=graft.name, num_layers=num_layers))
        elif isinstance(part, Prefix):
            configs.append(write_prefix_options(part, name=graft.name, num_layers=num_layers))
        elif isinstance(part, Bottleneck | Compacter):
            if isinstance(part, Bottleneck):
                alike = _find_alike(part, graft.parts)
                written += alike
                config = _write_bottlenecks(alike, num_layers=num_layers)
            else:
                config = _write_compacter(part, num_layers=num_layers)
            if invertible is not None and invertible.activation == part.activation:
                config |= {"inv_adapter": "nice", "inv_adapter_reduction_factor": invertible.reduction}
                invertible = None
            configs.append(config)
    return configs[0] if len(configs) == 1 else {"architecture": UNION, "configs": configs}


def _find_alike(part: Bottleneck, parts: Sequence[Part]) -> list[Bottleneck]:
    """List the bottlenecks that one configuration describes, widths by layer."""
    own = (part.activation, part.placement, part.scale, part.scaling == LEARNED)
    return [
        other
        for other in parts
        if isinstance(other, Bottleneck)
        and (other.activation, other.placement, other.scale, other.scaling == LEARNED) == own
    ]


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


def _write_bottlenecks(parts: Sequence[Bottleneck], *, num_layers: int) -> dict[str, object]:
    first = parts[0]
    by_layer = {layer: part for part in parts for layer in list_layers(part, num_layers=num_layers)}
    factors = {str(layer): part.reduction for layer, part in sorted(by_layer.items())}
    is_one = len(set(factors.values())) == 1
    return {
        **DEFAULTS,
        "inv_adapter": None,
        "inv_adapter_reduction_factor": None,
        "is_parallel": first.placement == "parallel",
        "leave_out": [layer for layer in range(num_layers) if layer not in by_layer],
        "mh_adapter": first.placement == "attention+ffn",
        "non_linearity": first.activation,
        "original_ln_before": first.placement == "ffn",
        "reduction_factor": cast("object", first.reduction if is_one else factors),
        "scaling": LEARNED if first.scaling == LEARNED else float(first.scale),
    }
