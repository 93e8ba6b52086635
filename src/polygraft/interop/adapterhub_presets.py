"""AdapterHub's configurations by name, such as `pfeiffer+inv`, which a file may have in the place of options."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import cast

from polygraft.errors import DataError, nearest
from polygraft.interop.options import show
from polygraft.store.fields import JsonValue

MOST_CHARACTERS = 4096
_SEQ: Mapping[str, JsonValue] = {
    "original_ln_before": True,
    "mh_adapter": False,
    "output_adapter": True,
    "non_linearity": "relu",
    "reduction_factor": 16,
}
_DOUBLE: Mapping[str, JsonValue] = {
    "original_ln_before": False,
    "mh_adapter": True,
    "output_adapter": True,
    "non_linearity": "swish",
    "reduction_factor": 16,
}
_PARALLEL: Mapping[str, JsonValue] = {
    "original_ln_before": False,
    "mh_adapter": False,
    "output_adapter": True,
    "non_linearity": "relu",
    "reduction_factor": 2,
    "is_parallel": True,
    "scaling": 4.0,
}
_INVERTIBLE: Mapping[str, JsonValue] = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
_COMPACTER: Mapping[str, JsonValue] = {"phm_layer": True, "reduction_factor": 32, "non_linearity": "gelu"}
_LORA: Mapping[str, JsonValue] = {"architecture": "lora"}
_IA3: Mapping[str, JsonValue] = {
    **_LORA,
    "intermediate_lora": True,
    "r": 1,
    "alpha": 1,
    "attn_matrices": ["k", "v"],
    "composition_mode": "scale",
    "init_weights": "ia3",
}
_VERA: Mapping[str, JsonValue] = {**_LORA, "vera_d": 0.1, "vera_b": 0.0, "init_weights": "vera"}
_PREFIX: Mapping[str, JsonValue] = {"architecture": "prefix_tuning"}
_REFT: Mapping[str, JsonValue] = {"architecture": "reft"}


def _unite(*configs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {"architecture": "union", "configs": [dict(config) for config in configs]}


PRESETS: Mapping[str, Mapping[str, JsonValue]] = {
    "pfeiffer": _SEQ,
    "houlsby": _DOUBLE,
    "parallel": _PARALLEL,
    "scaled_parallel": {**_PARALLEL, "scaling": "learned"},
    "pfeiffer+inv": {**_SEQ, **_INVERTIBLE},
    "houlsby+inv": {**_DOUBLE, **_INVERTIBLE},
    "seq_bn": _SEQ,
    "double_seq_bn": _DOUBLE,
    "par_bn": _PARALLEL,
    "scaled_par_bn": {**_PARALLEL, "scaling": "learned"},
    "seq_bn_inv": {**_SEQ, **_INVERTIBLE},
    "double_seq_bn_inv": {**_DOUBLE, **_INVERTIBLE},
    "compacter++": {**_SEQ, **_COMPACTER},
    "compacter": {**_DOUBLE, **_COMPACTER},
    "prefix_tuning": _PREFIX,
    "prefix_tuning_flat": {**_PREFIX, "flat": True},
    "prompt_tuning": {"architecture": "prompt_tuning"},
    "lora": _LORA,
    "ia3": _IA3,
    "vera": _VERA,
    "dora": {**_LORA, "use_dora": True},
    "dvora": {**_VERA, "use_dora": True},
    "mtl_lora": {"architecture": "mtl_lora"},
    "loreft": _REFT,
    "noreft": _REFT,
    "direft": _REFT,
    "mam": _unite({**_PREFIX, "bottleneck_size": 800}, _PARALLEL),
    "unipelt": _unite(
        {**_PREFIX, "prefix_length": 10, "use_gating": True},
        {**_SEQ, "use_gating": True},
        {**_LORA, "alpha": 2, "use_gating": True},
    ),
}
"""By name; the first six are what the releases before 4 called them."""
_FORM = re.compile(r"(?P<name>[^\[\]|\n]+)(?:\[(?P<values>.*)\])?")


def expand_preset(text: str, *, where: str) -> dict[str, JsonValue]:
    """Give the options that a name stands for, such as `seq_bn[reduction_factor=4]` or `prefix_tuning|par_bn`.

    Args:
        text: The name, perhaps with options in brackets; several with `|` between them are a union.
        where: What the messages call it.

    Raises:
        DataError: It is no such name.
    """
    configs = [_expand_one(each.strip(), where=where) for each in text[:MOST_CHARACTERS].split("|")]
    return configs[0] if len(configs) == 1 else _unite(*configs)


def _expand_one(text: str, *, where: str) -> dict[str, JsonValue]:
    found = _FORM.fullmatch(text)
    name = text if found is None else found["name"]
    if found is None or name not in PRESETS:
        raise DataError(
            f"{where} has config = {show(text)}, which names no configuration that polygraft knows. Expected options, "
            f"or one of {', '.join(PRESETS)}, perhaps with options in brackets.{nearest(name, PRESETS)} Get the file "
            "again from where it was made."
        )
    return {**PRESETS[name], **_read_values(found["values"] or "", whole=text, where=where)}


def _read_values(text: str, *, whole: str, where: str) -> dict[str, JsonValue]:
    """Read `key=value, ...` as that library does: the values are literals of Python, of which none is run."""
    try:
        values = ast.literal_eval("{" + re.sub(r"(\w+)=", r"'\1':", text) + "}")
        if isinstance(values, dict) and all(isinstance(key, str) for key in values):
            return cast("dict[str, JsonValue]", values)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    raise DataError(
        f"{where} has config = {show(whole)}, whose brackets hold no options. Expected them as in "
        "seq_bn[reduction_factor=4,leave_out=[1]]. Get the file again from where it was made."
    )
