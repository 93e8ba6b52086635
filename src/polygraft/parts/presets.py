"""Lists of parts that the literature uses together."""

from __future__ import annotations

from collections.abc import Sequence

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.kinds import MAM, PRESETS
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix


def language_graft(
    *, reduction: float = 2, skip_layers: Sequence[int] = (), invertible: bool = True
) -> tuple[Part, ...]:
    """List the parts of a language graft (MAD-X, section 3.3).

    Args:
        reduction: Hidden size over width.
        skip_layers: Layers left out, such as those above the layer that the masked-LM head reads.
        invertible: Whether the embeddings get an invertible part.

    Example:
        >>> [part.kind for part in language_graft()]
        ['bottleneck', 'invertible']
    """
    bottleneck = Bottleneck(reduction=reduction, skip_layers=tuple(skip_layers))
    return (bottleneck, Invertible(reduction=reduction)) if invertible else (bottleneck,)


def task_graft(
    *,
    labels: Sequence[str],
    reduction: float = 16,
    skip_layers: Sequence[int] = (),
    objective: str = "tokens",
) -> tuple[Part, ...]:
    """List the parts of a task graft (MAD-X, section 3.2): a bottleneck and a head.

    Args:
        labels: Names of the labels.
        reduction: Hidden size over width.
        skip_layers: Layers left out.
        objective: "tokens" or "sequence".

    Example:
        >>> [part.kind for part in task_graft(labels=["O", "B-LOC"])]
        ['bottleneck', 'head']
    """
    head = Head.from_options({"objective": objective, "labels": list(labels)})
    return (Bottleneck(reduction=reduction, skip_layers=tuple(skip_layers)), head)


def mam_graft(
    *,
    labels: Sequence[str],
    length: int = 30,
    reduction: float = 2,
    skip_layers: Sequence[int] = (),
    objective: str = "tokens",
) -> tuple[Part, ...]:
    """List the parts of a mix-and-match graft (He et al. 2022, section 4.6): a prefix, a parallel bottleneck, a head.

    Args:
        labels: Names of the labels.
        length: How many keys and values each layer gets.
        reduction: Hidden size over the bottleneck's width.
        skip_layers: Layers left out.
        objective: "tokens" or "sequence".

    Example:
        >>> [part.kind for part in mam_graft(labels=["O", "B-LOC"])]
        ['prefix', 'bottleneck', 'head']
    """
    preset, skipped = PRESETS[MAM], list(skip_layers)
    return (
        Prefix.from_options({**preset[Prefix.kind], "length": length, "skip_layers": skipped}),
        Bottleneck.from_options({**preset[Bottleneck.kind], "reduction": reduction, "skip_layers": skipped}),
        Head.from_options({"objective": objective, "labels": list(labels)}),
    )
