"""What AdapterHub calls the tensors of a graft: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from polygraft.base.projections import find_family_projections
from polygraft.errors import DataError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.fusion import Fusion
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.prefix import Prefix


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the adapters of a family stand, as paths below a layer, and where the layers are."""

    layers: str
    attention: str
    ffn: str
    prefix: str | None
    """Where each layer has the prefixes of all of them again; None where prefixes are not known to agree."""
    maps: Mapping[str, str] = field(default_factory=dict)
    """Where the linear maps of a layer are, by their roles."""

    def find_sublayer(self, name: str) -> str:
        """Give where what stands behind a sublayer is: `attention` or `ffn`."""
        return self.attention if name == "attention" else self.ffn


_BERT = Places(
    layers="encoder.layer",
    attention="attention.output",
    ffn="output",
    prefix="attention.self.prefix_tuning",
)
_DISTILBERT = Places(
    layers="transformer.layer",
    attention="attention_adapters",
    ffn="output_adapters",
    # Its attention adds one to the scores of a prefix where a batch has padding, and does not where it has none.
    prefix=None,
)
PLACES: Mapping[str, Places] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    # It computes its attention by itself, where no prefix can be put.
    "deberta-v2": replace(_BERT, prefix=None),
    "distilbert": _DISTILBERT,
}
"""By the name of a base's family; that library knows no others of those that polygraft knows."""

OLD_NAMES: Mapping[str, str] = {
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
"""What the first releases called the dictionaries of adapters."""

_PREFIX_TENSORS: Mapping[str, str] = {
    "embedding": "wte.weight",
    "down.weight": "control_trans.0.weight",
    "down.bias": "control_trans.0.bias",
    "up.weight": "control_trans.2.weight",
    "up.bias": "control_trans.2.bias",
    "values": "control_trans",
}
"""What a prefix is made of; the last stands alone, where there is no network."""
_KRONECKER_TENSORS: Mapping[str, str] = {
    "left": "W_left",
    "right": "W_right",
    "full": "W",
    "rule": "phm_rule",
    "bias": "b",
}
_FIRST_WORD = re.compile(
    r"^[a-z_]+\.(?=(?:encoder|transformer|invertible_adapters|shared_parameters|prefix_tuning)\.)"
)


def find_places(family: str) -> Places:
    """Give where AdapterHub has its adapters in a family of bases.

    Raises:
        DataError: It knows none there.
    """
    if family not in PLACES:
        raise DataError(
            f"AdapterHub's names for bases of the family '{family}' are not known. Expected one of "
            f"{', '.join(PLACES)}. Take the base that the adapter was trained on."
        )
    maps = {role: path.path for role, path in find_family_projections(family).items()}
    return replace(PLACES[family], maps=maps)


def _name_projection(projection: str) -> str:
    return "adapter_down.0" if projection == "down" else "adapter_up"


def _write_bottleneck(places: Places, name: str, layer: str, sublayer: str, rest: str) -> str:
    projection, _, kind = rest.partition(".")
    end = "scaling" if rest == "scale" else f"{_name_projection(projection)}.{kind}"
    return f"{places.layers}.{layer}.{places.find_sublayer(sublayer)}.adapters.{name}.{end}"


def _write_compacter(places: Places, name: str, layer: str, sublayer: str, projection: str, kind: str) -> str:
    end = f"{_name_projection(projection)}.{_KRONECKER_TENSORS[kind]}"
    return f"{places.layers}.{layer}.{places.find_sublayer(sublayer)}.adapters.{name}.{end}"


def _write_rule(places: Places, name: str) -> str:
    return f"shared_parameters.{name}.phm_rule"


def _write_invertible(places: Places, name: str, function: str, projection: str, kind: str) -> str:
    return f"invertible_adapters.{name}.{function}.{0 if projection == 'down' else 2}.{kind}"


def _write_lora(places: Places, name: str, layer: str, role: str, matrix: str) -> str:
    end = "m.weight" if matrix == "magnitude" else f"lora_{matrix}"
    return f"{places.layers}.{layer}.{places.maps[role]}.loras.{name}.{end}"


def _write_ia3(places: Places, name: str, layer: str, role: str) -> str:
    return _write_lora(places, name, layer, role, "B")


def _write_prefix(places: Places, name: str, kind: str) -> str:
    return f"prefix_tuning.prefix_tunings.{name}.self_prefix.{_PREFIX_TENSORS[kind]}"


def _write_fusion(places: Places, name: str, layer: str, sublayer: str, kind: str) -> str:
    end = "value.weight" if kind == "value" else kind
    return f"{places.layers}.{layer}.{places.find_sublayer(sublayer)}.adapter_fusion_layer.{name}.{end}"


_OWN_NAMES: tuple[tuple[re.Pattern[str], Callable[..., str]], ...] = (
    (
        re.compile(
            rf"{Bottleneck.kind}(?:_\d+)?\.layers\.(\d+)\.(attention|ffn)\.((?:down|up)\.(?:weight|bias)|scale)"
        ),
        _write_bottleneck,
    ),
    (re.compile(rf"{Invertible.kind}\.([FG])\.(down|up)\.(weight|bias)"), _write_invertible),
    (
        re.compile(
            rf"{Compacter.kind}\.layers\.(\d+)\.(attention|ffn)\.(down|up)\.({'|'.join(_KRONECKER_TENSORS)})"
        ),
        _write_compacter,
    ),
    (re.compile(rf"{Compacter.kind}\.rule"), _write_rule),
    (re.compile(rf"{Lora.kind}\.layers\.(\d+)\.(\w+)\.([AB]|magnitude)"), _write_lora),
    (re.compile(rf"{IA3.kind}\.outputs\.(\d+)\.(\w+)"), _write_ia3),
    (re.compile(rf"{Prefix.kind}\.source\.({'|'.join(map(re.escape, _PREFIX_TENSORS))})"), _write_prefix),
    (
        re.compile(rf"{Fusion.kind}\.layers\.(\d+)\.(attention|ffn)\.((?:query|key)\.(?:weight|bias)|value)"),
        _write_fusion,
    ),
)
"""The tensors of each part, and what writes their name."""


def write_name(own: str, *, name: str, places: Places) -> str | None:
    """Give what AdapterHub calls a tensor of a part; None for one that it does not have, or has in a head.

    Args:
        own: The tensor's name in a graft.
        name: The adapter's name; of a fusion, those of its members with commas.
        places: Where things are in the base.

    Example:
        >>> write_name("invertible.F.down.bias", name="qu", places=PLACES["bert"])
        'invertible_adapters.qu.F.0.bias'
    """
    for pattern, write in _OWN_NAMES:
        if found := pattern.fullmatch(own):
            return write(places, name, *found.groups())
    return None


def simplify_name(theirs: str) -> str:
    """Give a name of a file as this release of AdapterHub writes it for a bare encoder.

    Example:
        >>> simplify_name("bert.encoder.layer.0.output.layer_text_lang_adapters.qu.adapter_up.bias")
        'encoder.layer.0.output.adapters.qu.adapter_up.bias'
    """
    for old, new in OLD_NAMES.items():
        theirs = theirs.replace(f".{old}.", f".{new}.")
    return _FIRST_WORD.sub("", theirs)


def check_names(found: Iterable[str], wanted: Iterable[str], *, where: str) -> None:
    """Refuse tensors that are missing, or that nothing uses.

    Args:
        found: The names in the file.
        wanted: The names that the options ask for.
        where: What the messages call the file.

    Raises:
        DataError: The two differ.
    """
    unknown, missing = sorted(set(found) - set(wanted)), sorted(set(wanted) - set(found))
    if not unknown and not missing:
        return
    told = [
        text
        for names, text in (
            (missing, f"lacks {len(missing)} of them (such as '{next(iter(missing), '')}')"),
            (unknown, f"has {len(unknown)} that nothing uses (such as '{next(iter(unknown), '')}')"),
        )
        if names
    ]
    raise DataError(
        f"{where} does not have the tensors that its configuration asks for: it {' and '.join(told)}. Expected exactly "
        f"{len(set(wanted))}, for a base of the same shape. Import it on the base that it was trained on, with files "
        "that belong together."
    )
