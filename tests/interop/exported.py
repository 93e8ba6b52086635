"""Grafts of every kind that AdapterHub's library has as well."""

from __future__ import annotations

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix

LABELS = ("O", "B-PER", "B-LOC")
GRAFTS: dict[str, list[Part]] = {
    "language": [
        Bottleneck(reduction=2, scaling=1.0),
        Invertible(reduction=2),
        Head(objective="mlm"),
    ],
    "tokens": [
        Bottleneck(reduction=4, activation="gelu", scaling=2.0, skip_layers=(1,)),
        Head(objective="tokens", labels=LABELS),
    ],
    "sequence": [
        Bottleneck(reduction=4, activation="swish", placement="attention+ffn", scaling=1.0),
        Head(objective="sequence", labels=LABELS),
    ],
    "parallel": [Bottleneck(reduction=8, placement="parallel", scaling=4.0)],
    "widths": [
        Bottleneck(reduction=2, scaling=1.0, skip_layers=(0, 2)),
        Bottleneck(reduction=8, scaling=1.0, skip_layers=(1,)),
    ],
    "learned": [Bottleneck(reduction=4, scaling="learned")],
    "lora": [Lora(rank=2, alpha=3.0, roles=("query", "key", "up", "down"), skip_layers=(1,))],
    "ia3": [IA3(outputs=("query", "value", "up", "down"), inputs=(), skip_layers=(0,))],
    "prefix": [Prefix(length=3, reparameterization=5, activation="relu", skip_layers=(2,))],
    "flat": [Prefix(length=3, reparameterization=None)],
    "compacter": [
        Compacter(reduction=4, terms=2, skip_layers=(1,)),
        Head(objective="tokens", labels=LABELS),
    ],
    "compacter-ffn": [
        Compacter(reduction=4, terms=2, rank=None, shared=False, activation="relu", placement="ffn")
    ],
    "head": [Head(objective="sequence", labels=LABELS)],
    "mam": [
        Prefix(length=3, reparameterization=5),
        Bottleneck(reduction=4, placement="parallel", scaling="learned"),
        Head(objective="tokens", labels=LABELS),
    ],
    "unipelt": [
        Prefix(length=2, reparameterization=None, skip_layers=(1,)),
        Bottleneck(reduction=4, scaling=1.0),
        Invertible(),
        Lora(rank=2, alpha=3.0, roles=("key", "down")),
    ],
    "by-layer": [
        Bottleneck(reduction=4, activation="gelu", scaling=1.0, skip_layers=(0,)),
        Lora(rank=2, rslora=True, skip_layers=(2,)),
        Compacter(reduction=4, terms=2, skip_layers=(1, 2)),
    ],
}
