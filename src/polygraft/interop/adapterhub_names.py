"""What AdapterHub calls the tensors of a graft: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from polygraft.errors import DataError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.invertible import Invertible


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the adapters of a family stand, as paths below a layer, and where the layers are."""

    layers: str
    attention: str
    ffn: str


_BERT = Places(layers="encoder.layer", attention="attention.output.adapters", ffn="output.adapters")
_DISTILBERT = Places(
    layers="transformer.layer", attention="attention_adapters.adapters", ffn="output_adapters.adapters"
)
PLACES: Mapping[str, Places] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "deberta-v2": _BERT,
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

_OWN_BOTTLENECK = re.compile(
    rf"{Bottleneck.kind}(?:_\d+)?\.layers\.(\d+)\.(attention|ffn)\.(down|up)\.(weight|bias)"
)
_OWN_INVERTIBLE = re.compile(rf"{Invertible.kind}\.([FG])\.(down|up)\.(weight|bias)")
_FIRST_WORD = re.compile(r"^[a-z_]+\.(?=(?:encoder|transformer|invertible_adapters|shared_parameters)\.)")


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
    return PLACES[family]


def write_name(own: str, *, name: str, places: Places) -> str | None:
    """Give what AdapterHub calls a tensor of a bottleneck or an invertible part; None for any other.

    Example:
        >>> write_name("invertible.F.down.bias", name="qu", places=PLACES["bert"])
        'invertible_adapters.qu.F.0.bias'
    """
    if found := _OWN_BOTTLENECK.fullmatch(own):
        layer, sublayer, projection, kind = found.groups()
        where = places.attention if sublayer == "attention" else places.ffn
        end = "adapter_down.0" if projection == "down" else "adapter_up"
        return f"{places.layers}.{layer}.{where}.{name}.{end}.{kind}"
    if found := _OWN_INVERTIBLE.fullmatch(own):
        function, projection, kind = found.groups()
        return f"invertible_adapters.{name}.{function}.{0 if projection == 'down' else 2}.{kind}"
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
