"""Arithmetic on grafts: several that were made alike become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from polygraft.attach.graft import Graft, check_fit, copy_tensors, make_graft
from polygraft.attach.merging import Merging, choose_kept
from polygraft.attach.summands import Rule, Summands, gather_summands
from polygraft.errors import FingerprintError, GraftError
from polygraft.parts.edit import EditLayers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from polygraft.base.base import Base

PLACES = ("num_values", "num_kept", "num_code_bytes")
"""Options of parts that change weights which only count what their tensors hold."""


def merge_grafts(base: Base, name: str, grafts: Sequence[Graft], merging: Merging) -> Graft:
    """Make one graft of several that were made alike, on one base.

    The same grafts in the same order, settings and seed give the same bytes. All sums are made in float64 and rounded
    once. The new graft is frozen, as one from a store is.

    - Bottlenecks, compacters, invertible parts, glows, prefixes with plain values, fusions and heads are added up
      parameter by parameter, as they are; BitFit too, and (IA)3 counted from one, whose effects add up exactly.
    - LoRAs are added up exactly: the result has the ranks of all of them beside each other.
    - Deltas are added up at the places of all of them together; where one has no place its difference is 0.
    - Masks with retrained values are added up where they keep the same weights, as differences from the base.

    Args:
        base: Their base.
        name: What plans call the new one.
        grafts: What it is made of, in the order of the weights: at least one.
        merging: The formula and its settings.

    Raises:
        OptionError: The weights are not as many as the grafts.
        FingerprintError: A graft was made for another base.
        GraftError: There is no graft, they have other parts or options, or a part has no sum.
    """
    if not grafts:
        raise GraftError(
            f"The graft '{name}' was to be made of no grafts. Expected at least one. Name those to merge."
        )
    factors = torch.tensor(merging.list_factors(len(grafts)), dtype=torch.float64)
    check_alike(base, grafts)
    names = [_call(graft) for graft in grafts]
    layers = [dict(graft.layers.items()) for graft in grafts]
    summands = {
        key: gather_summands(base, part, [each[key] for each in layers], names=names)
        for key, part in zip(layers[0], grafts[0].parts, strict=True)
    }
    kept = _choose(summands, merging, num_grafts=len(grafts))
    rule = Rule(factors=factors, elects=merging.how == "ties", rescale=1 / (1 - merging.drop_chance))
    merged = {key: each.add_up(rule, kept[key]) for key, each in summands.items()}
    tensors = {f"{key}.{inner}": tensor for key, (_, own) in merged.items() for inner, tensor in own.items()}
    _check_merged(name, tensors)
    graft = make_graft(base, name, [part for part, _ in merged.values()])
    copy_tensors(graft, tensors)
    graft.layers.requires_grad_(False)
    return graft


def average_grafts(
    base: Base, name: str, grafts: Sequence[Graft], weights: Sequence[float] | None = None
) -> Graft:
    """Make the weighted mean of grafts that were made alike; what a graft with the weight 1 is, bit for bit.

    Args:
        base: Their base.
        name: What plans call the mean.
        grafts: What it is made of.
        weights: One for each, 1 in all; None is the same for all.

    Raises:
        OptionError: The weights are not as many as the grafts, or do not add up to 1.
        FingerprintError: A graft was made for another base.
        GraftError: The grafts have other parts or options, or a part has no sum.

    Example:
        >>> mean = average_grafts(base, "mean", [first, second], [0.3, 0.7])  # doctest: +SKIP
    """
    given = None if weights is None else tuple(weights)
    return merge_grafts(base, name, grafts, Merging(how="interpolate", weights=given))


def add_grafts(base: Base, name: str, grafts: Sequence[Graft]) -> Graft:
    """Make the sum of grafts that were made alike; raises what `merge_grafts` does."""
    return merge_grafts(base, name, grafts, Merging(how="add"))


def subtract_grafts(base: Base, name: str, a: Graft, b: Graft) -> Graft:
    """Take one graft away from another that was made alike; raises what `merge_grafts` does."""
    return merge_grafts(base, name, [a, b], Merging(how="subtract"))


def scale_graft(base: Base, name: str, graft: Graft, factor: float) -> Graft:
    """Multiply a graft by a number: 0 is a fresh one, -1 the opposite; raises what `merge_grafts` does."""
    return merge_grafts(base, name, [graft], Merging(how="add", scale=factor))


def check_alike(base: Base, grafts: Sequence[Graft]) -> None:
    """Refuse grafts of another base or of each other's unlike: what is added up must have its like in each.

    Raises:
        FingerprintError: A graft was made for another base.
        GraftError: They have other parts, options or shapes, or hold what is no number.
    """
    first = grafts[0]
    for graft in grafts:
        if graft.base_fingerprint not in (None, base.fingerprint):
            raise FingerprintError(
                f"Graft '{_call(graft)}' was made for another base: that one's fingerprint is "
                f"{str(graft.base_fingerprint)[:8]}, '{base.name}' has {base.fingerprint[:8]}. Expected grafts of one "
                "base, since a value means something else in another. Load their base, or name other grafts."
            )
        _check_parts(first, graft)
        _check_shapes(first, graft)
        for key, tensor in graft.tensors().items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise GraftError(
                    f"The graft '{_call(graft)}' holds values in '{key}' that are no finite numbers, which spoil every "
                    "sum. Expected finite ones. Train it again, or name another version."
                )


def _check_parts(first: Graft, other: Graft) -> None:
    kinds = [[part.kind for part in graft.parts] for graft in (first, other)]
    if kinds[0] != kinds[1]:
        raise GraftError(
            f"The grafts '{_call(first)}' and '{_call(other)}' are made of other parts: {', '.join(kinds[0])} and "
            f"{', '.join(kinds[1])}. Expected the same ones in the same order. Name grafts that were made alike."
        )
    for one, two in zip(first.parts, other.parts, strict=True):
        options = two.to_options()
        for option, value in one.to_options().items():
            if option not in PLACES and options[option] != value:
                raise GraftError(
                    f"The part '{one.kind}' has {option}={value!r} in the graft '{_call(first)}', and "
                    f"{option}={options[option]!r} in '{_call(other)}'. Expected the same, so that each value has its "
                    "like. Name grafts that were made alike."
                )


def _check_shapes(first: Graft, other: Graft) -> None:
    for key, layers in first.layers.items():
        like = other.layers[key]
        if isinstance(layers, EditLayers) and isinstance(like, EditLayers):
            shapes = [{info.name: info.shape for info in each.infos} for each in (layers, like)]
            if shapes[0] != shapes[1]:
                raise GraftError(
                    f"The part '{key}' is about other weights in the graft '{_call(first)}' than in '{_call(other)}'. "
                    "Expected weights of one base. Name grafts that were made for the same one."
                )
        else:
            check_fit(_call(other), like.state_dict(), own=layers.state_dict())


def _choose(
    summands: Mapping[str, Summands], merging: Merging, *, num_grafts: int
) -> dict[str, list[dict[str, Tensor] | None]]:
    """Choose for each part and graft which differences take part: of all parts of a graft together."""
    generator = torch.Generator().manual_seed(merging.seed)
    found: dict[str, list[dict[str, Tensor] | None]] = {key: [] for key in summands}
    for index in range(num_grafts):
        differences = {key: each.find_differences(index) for key, each in summands.items()}
        flat = {f"{key}.{inner}": tensor for key, own in differences.items() for inner, tensor in own.items()}
        kept = choose_kept(flat, merging, generator=generator)
        for key, own in differences.items():
            found[key].append(None if kept is None else {inner: kept[f"{key}.{inner}"] for inner in own})
    return found


def _check_merged(name: str, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise GraftError(
                f"The graft '{name}' would have values in '{key}' that {tensor.dtype} cannot hold. Expected finite "
                "numbers. Give a smaller scale or smaller weights."
            )


def _call(graft: Graft) -> str:
    """Give what messages call a graft: two versions of one name may meet."""
    return graft.name if graft.manifest is None else f"{graft.name}@{graft.manifest.version}"
