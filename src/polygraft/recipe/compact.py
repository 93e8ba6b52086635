"""A pruned graft as a smaller base of its own, with its head beside it, and how much faster that is."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import make_graft, rebuild_graft
from polygraft.attach.sparse import find_edit, read_edited, read_places
from polygraft.base.compact import compact_base
from polygraft.base.load import load_base
from polygraft.errors import OptionError
from polygraft.parts.head import Head
from polygraft.parts.mask import MaskLayers
from polygraft.recipe.bench import copy_head
from polygraft.recipe.methods import LtSft, Structured
from polygraft.store.manifest import BaseRecord, PartRecord
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polygraft.base.base import Base
    from polygraft.base.compact import Compacted
    from polygraft.recipe.methods import Method
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store

ROWS, LENGTH, PASSES, ROUNDS = 24, 64, 2, 7
"""The batch whose forward pass is timed, how many of them make a measurement, and how many are made of each base."""


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What came of writing a smaller base."""

    folder: Path
    num_parameters: int
    num_parameters_before: int
    tokens_per_second: float
    tokens_per_second_before: float
    """Of the masked base; both are medians."""
    speed_up: float
    """Median over rounds, in each of which both were timed one right after the other."""
    speed_up_range: tuple[float, float]
    """The lowest and the highest of the rounds: far apart where the machine had other work."""
    head: str | None
    """Name of the graft in the store that holds the head for the smaller base; None without a head."""
    notes: tuple[str, ...]


def check_compact(method: Method, *, under: str | None, folder: Path) -> None:
    """Refuse what could not be written after hours of training.

    Args:
        method: What makes the graft.
        under: The plan of the grafts below it.
        folder: Where the smaller base is to go.

    Raises:
        OptionError: The method removes no whole units, there are grafts below, or the folder is there.
    """
    if isinstance(method, LtSft):
        raise OptionError(
            f"A smaller base was to be written of what '{method.kind}' makes, which changes weights and prunes none. "
            "Expected a method that prunes, such as structured. Choose that, or leave --compact out."
        )
    if not isinstance(method, Structured):
        raise OptionError(
            f"The method '{method.kind}' has no --compact: it removes single weights, and a base without them would be "
            "as large. Expected structured. Leave --compact out."
        )
    if under is not None:
        raise OptionError(
            f"A smaller base was to be written of a graft over '{under}', whose grafts it would not hold. Expected a "
            "graft that was trained alone. Leave --under or --compact out."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(
            f"A smaller base was to be written to '{folder}', which is there already. Expected a folder that is not "
            "there, or an empty one. Name another folder."
        )


def write_compact(base: Base, store: Store, manifest: Manifest, *, folder: Path) -> CompactReport:
    """Write the base without the units that a stored graft prunes, store the head for it, and time both.

    A graft of which no whole unit is pruned gives a base of the same size, with zeros; a note says so.

    Args:
        base: The base of the graft.
        store: Where the graft is.
        manifest: The graft's.
        folder: Where the smaller base goes.

    Raises:
        GraftError: The graft has no mask.
        BaseModelError: The folder cannot be written.
    """
    graft = rebuild_graft(
        base, *store.get(manifest.name, version=manifest.version), folder=store.find_folder(manifest)
    )
    layers = find_edit(graft, MaskLayers)
    written = compact_base(base, folder=folder, masks=read_places(layers), weights=read_edited(base, layers))
    small = load_base(str(folder), device=str(base.device), dtype=base.dtype)
    with attach(base, graft.name, grafts=[graft]) as masked, attach(small, None) as compact:
        rounds = _measure(masked, compact)
    head = _store_head(small, store, manifest, source=graft.tensors())
    return CompactReport(
        folder=folder,
        num_parameters=written.num_parameters,
        num_parameters_before=written.num_parameters_before,
        **summarise_rounds(rounds),
        head=head,
        notes=(*_list_notes(written), *_note_head(base, head)),
    )


def _list_notes(written: Compacted) -> tuple[str, ...]:
    if written.notes or written.num_parameters < written.num_parameters_before:
        return written.notes
    return (
        f"The base in {written.folder} is as large as before: no head or neuron is pruned as a whole, so that only "
        "numbers in it are zero. `polygraft prune structured` removes whole ones.",
    )


def _note_head(base: Base, head: str | None) -> list[str]:
    bare = "The folder holds the encoder alone, as a Hugging Face base does"
    if head is not None:
        return [f"{bare}: the head that was trained is the graft '{head}' in the store."]
    # The head of a decoder with tied embeddings is in the folder with these.
    words = base.sites.word_embeddings.weight
    is_there = (
        base.sites.is_causal and base.head is not None and base.head.weight.data_ptr() == words.data_ptr()
    )
    if base.head is not None and not is_there:
        return [
            f"{bare}: the {TEXT_OBJECTIVES[base.guesses]} head of '{base.name}' is not in it, so it cannot guess "
            "pieces by itself."
        ]
    return []


def _store_head(
    small: Base, store: Store, manifest: Manifest, *, source: dict[str, torch.Tensor]
) -> str | None:
    """Store the head of a graft as a graft of the smaller base, and give its name."""
    head = next((record for record in manifest.parts if record.kind == Head.kind), None)
    if head is None:
        return None
    name = f"{manifest.name}-compact"
    graft = make_graft(small, name, [Head.from_options(head.options)])
    copy_head(source, graft)
    store.put(
        replace(
            manifest,
            name=name,
            version=0,
            parts=(PartRecord(kind=head.kind, options=head.options),),
            base=BaseRecord(name=small.name, fingerprint=small.fingerprint, revision=None),
            tokenizer=small.tokenizer_fingerprint,
            trained_under=None,
            members=(),
            step=None,
        ),
        graft.tensors(),
    )
    return name


class Speeds(TypedDict):
    """What rounds of timing tell, by the fields of a report."""

    tokens_per_second: float
    tokens_per_second_before: float
    speed_up: float
    speed_up_range: tuple[float, float]


def summarise_rounds(rounds: Sequence[tuple[float, float]]) -> Speeds:
    """Give medians of the tokens a second of two bases, and of what one gains over the other within a round.

    A round that other work slowed down weighs on both of its numbers, and hardly on their ratio.

    Args:
        rounds: Tokens a second of the masked base and of the compact one, round by round.
    """
    before, after = zip(*rounds, strict=True)
    gains = [fast / slow for slow, fast in rounds]
    return Speeds(
        tokens_per_second=statistics.median(after),
        tokens_per_second_before=statistics.median(before),
        speed_up=statistics.median(gains),
        speed_up_range=(min(gains), max(gains)),
    )


def _measure(masked: Attachment, compact: Attachment) -> list[tuple[float, float]]:
    """Give the tokens a second of both, round by round; which of them is first alternates."""
    rounds: list[tuple[float, float]] = []
    for number in range(ROUNDS + 1):
        if number % 2:
            after, before = _time(compact), _time(masked)
        else:
            before, after = _time(masked), _time(compact)
        rounds.append((before, after))
    # The first round prepares.
    return rounds[1:]


def _time(attachment: Attachment) -> float:
    base = attachment.base
    generator = torch.Generator().manual_seed(0)
    # Short enough for every base.
    length = min(LENGTH, int(base.model.config.max_position_embeddings) // 2)
    ids = torch.randint(0, base.sites.vocab, (ROWS, length), generator=generator).to(base.device)
    started = time.perf_counter()
    with torch.no_grad():
        for _ in range(PASSES):
            float(attachment.run(ids, torch.ones_like(ids)).sum())
    return PASSES * ids.numel() / (time.perf_counter() - started)
