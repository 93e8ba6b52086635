"""Merging grafts of a store into a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from polygraft.attach.arithmetic import merge_grafts
from polygraft.attach.graft import rebuild_graft
from polygraft.errors import FingerprintError
from polygraft.recipe.workshop import list_versions
from polygraft.store.manifest import BaseRecord, Manifest, MemberRecord, PartRecord

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.merging import Merging
    from polygraft.base.base import Base
    from polygraft.store.fields import JsonValue
    from polygraft.store.store import Store

Stored = tuple[Manifest, Mapping[str, "Tensor"]]


def check_one_base(manifests: Sequence[Manifest]) -> None:
    """Refuse grafts that were trained on more than one base or tokenizer, before one is loaded.

    Raises:
        FingerprintError: They were.
    """
    first = manifests[0]
    for other in manifests[1:]:
        if other.base.fingerprint != first.base.fingerprint:
            raise FingerprintError(
                f"Grafts '{_call(first)}' and '{_call(other)}' were trained on two bases: '{first.base.name}' with "
                f"fingerprint {first.base.fingerprint[:8]}, and '{other.base.name}' with "
                f"{other.base.fingerprint[:8]}. Expected one, since a value means something else in another base. Name "
                "grafts of one base."
            )
        if other.tokenizer != first.tokenizer:
            raise FingerprintError(
                f"Grafts '{_call(first)}' and '{_call(other)}' were trained with two tokenizers, with the fingerprints "
                f"{first.tokenizer[:8]} and {other.tokenizer[:8]}. Expected one, since they have read other pieces. "
                "Name grafts of one tokenizer."
            )


def _check_loaded(base: Base, manifest: Manifest) -> None:
    """Refuse another base than that of the grafts."""
    own, loaded = (
        (manifest.base.fingerprint, manifest.tokenizer),
        (base.fingerprint, base.tokenizer_fingerprint),
    )
    if own != loaded:
        found, given = ("/".join(each[:8] for each in pair) for pair in (own, loaded))
        raise FingerprintError(
            f"Graft '{_call(manifest)}' was trained on the base '{manifest.base.name}', whose fingerprints (base and "
            f"tokenizer) are {found}, and '{base.name}' has {given}. Expected the base of the grafts. Name it with "
            "--base."
        )


def merge_stored(
    base: Base, stored: Sequence[Stored], *, name: str, merging: Merging, store: Store
) -> Manifest:
    """Merge grafts of a store and put the result there, as the next version of its name.

    The manifest names the versions and digests that it was made of, and the settings.

    Args:
        base: The base of all of them.
        stored: What the store holds of each.
        name: The new graft's name, which may be that of an old one.
        merging: The formula and its settings.
        store: Where it is put.

    Raises:
        OptionError: The weights are not as many as the grafts.
        FingerprintError: A graft was trained on another base or tokenizer.
        GraftError: The grafts have other parts or options, or a part has no sum.
        StoreError: The store does not take it.
    """
    started = time.monotonic()
    members = [manifest for manifest, _ in stored]
    check_one_base(members)
    _check_loaded(base, members[0])
    grafts = [
        rebuild_graft(base, manifest, tensors, folder=store.find_folder(manifest))
        for manifest, tensors in stored
    ]
    graft = merge_grafts(base, name, grafts, merging)
    objectives = {member.objective for member in members}
    manifest = Manifest(
        name=name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=base.revision),
        tokenizer=base.tokenizer_fingerprint,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        members=tuple(
            MemberRecord(name=member.name, version=member.version, sha256=member.sha256) for member in members
        ),
        objective=objectives.pop() if len(objectives) == 1 else None,
        data=tuple(dict.fromkeys(record for member in members for record in member.data)),
        hyperparameters=describe_merging(merging, num_grafts=len(members)),
        cost={"seconds": time.monotonic() - started},
        versions=list_versions(),
    )
    return store.put(manifest, graft.tensors())


def describe_merging(merging: Merging, *, num_grafts: int) -> dict[str, JsonValue]:
    """Give the settings that the values depend on, as hyperparameters."""
    found: dict[str, JsonValue] = {"how": merging.how, "weights": list(merging.list_weights(num_grafts))}
    if merging.kept_share is not None:
        found["density"] = merging.kept_share
    if merging.drop_chance:
        found |= {"drop": merging.drop_chance, "seed": merging.seed}
    return {**found, "scale": merging.scale}


def _call(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"
