"""What came over from another library: a graft, and what its manifest says of where it came from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from polygraft.store.manifest import BaseRecord, Manifest, PartRecord

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base
    from polygraft.interop.certificate import Certificate
    from polygraft.store.fields import JsonValue

PACKAGES = ("polygraft", "torch", "transformers")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a graft came from."""

    library: str
    """adapterhub, peft or composable-sft."""
    version: str | None
    """What the files say of the library's version; None if nothing."""
    made_for: str | None
    """What the files call the base that they were trained on; None if nothing."""
    num_tensors: int
    """How many tensors the files have; every one was used."""
    digests: Mapping[str, str]
    """The sha256 of each file that was read."""
    notes: tuple[str, ...] = ()
    """What a reader should know: how something was brought over that polygraft writes otherwise."""
    members: tuple[str, ...] = ()
    """What the other library called the grafts that a fusion was trained on, in their order."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A graft that came over, and where from."""

    graft: Graft
    origin: Origin


def describe_import(base: Base, imported: Imported, *, certificate: Certificate | None) -> Manifest:
    """Write down where an imported graft came from, for the store: `hyperparameters["import"]`.

    Args:
        base: The base that it was imported for.
        imported: The graft.
        certificate: How near it came to outputs that the other library gave; None if none were at hand.
    """
    graft, origin = imported.graft, imported.origin
    record: dict[str, JsonValue] = {
        "library": origin.library,
        "version": origin.version,
        "made_for": origin.made_for,
        "tensors_used": origin.num_tensors,
        "files": dict(origin.digests),
        "notes": list(origin.notes),
        "compared": None if certificate is None else certificate.compared,
        "largest_difference": None if certificate is None else certificate.largest_difference,
        "tolerance": None if certificate is None else certificate.tolerance,
    }
    if origin.members:
        record["members"] = list(origin.members)
    return Manifest(
        name=graft.name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=base.revision),
        tokenizer=base.tokenizer_fingerprint,
        trained_under=f"fuse({', '.join(origin.members)}, by={graft.name})" if origin.members else None,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        objective=find_objective(graft),
        hyperparameters={"import": record},
        versions={**{name: version(name) for name in PACKAGES}, "python": platform.python_version()},
    )


def find_objective(graft: Graft) -> str | None:
    """Give what the graft's head scores; None without one."""
    head = graft.find_head()
    return None if head is None else head.options.objective
