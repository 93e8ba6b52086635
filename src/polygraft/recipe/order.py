"""What a training outside of a recipe is asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import (
    Fuse,
    Named,
    Plan,
    check_no_graft,
    drop_versions,
    list_names,
    stack_names,
    stack_over,
)
from polygraft.data.read import Source
from polygraft.data.reading import Kind, Reading
from polygraft.errors import OptionError, PlanError, nearest
from polygraft.recipe.caching import CacheKind, check_cache
from polygraft.recipe.learned import PartNames
from polygraft.recipe.methods import BOTTLENECK
from polygraft.settings import load_launch
from polygraft.store.manifest import check_name
from polygraft.train.settings import CACHE_GIB, CHECKPOINT_EVERY, NUM_NEGATIVES, TrainSettings
from polygraft.types import TEXT_OBJECTIVES, TextRows

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

FORM = 5
"""Raised when the same order would give other numbers than before."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A graft that is to be trained."""

    name: str
    """What plans will call it."""
    objective: Literal["mlm", "causal", "tokens", "sequence"]
    train: Path
    """Plain text, tagged sentences or labelled texts: a file, or the address of a dataset."""
    settings: TrainSettings
    dev: Path | None = None
    """Held-out data; without it, text keeps some lines apart, and labels keep none."""
    under: str | None = None
    """The plan of the frozen grafts below the new one."""
    part: PartNames = BOTTLENECK
    """What it learns with: a kind of part, a preset such as `mam`, or several of them."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of that part; of several, a table for each, by its kind."""
    fuse: tuple[str, ...] = ()
    """Plans of frozen grafts that the new one mixes, as a fusion; only for labels."""
    reduction: float = 16
    """Of the bottleneck; 0 leaves it out."""
    skip_layers: tuple[int, ...] = ()
    from_layer: int | None = None
    """The first layer with a bottleneck, counted from 0; only for text."""
    invertible: bool = False
    negatives: int = NUM_NEGATIVES
    """Pieces that the text does not have and that are scored beside its own, others in every batch; only for text."""
    vocabulary: Literal["corpus", "full"] = "corpus"
    """Pieces that are scored: those of the text and the negatives (fast), or all (exact); only for text."""
    rows: TextRows = "sentences"
    """How the text becomes rows: a line a row, or lines one after the other, cut into full rows; only for text. The
    one that is held out is measured a line a row in any case."""
    head_layer: int | None = None
    """After how many layers a head reads; for text None trains no head."""
    reading: Reading = field(default_factory=Reading)
    """How the data is read."""
    cache: CacheKind = "exact"
    """How what stands below a task's first bottleneck is kept for later epochs."""
    cache_gib: float = CACHE_GIB
    """Gigabytes (2**30 bytes) of it in memory; the rest lies in memory-mapped files in the store's folder."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_cache(self.cache, gib=self.cache_gib)
        _check_rows(self.rows, objective=self.objective)


def _check_rows(rows: str, *, objective: str) -> None:
    kinds = get_args(TextRows)
    if rows not in kinds:
        raise OptionError(
            f"The rows are '{rows}'. Expected {' or '.join(kinds)}.{nearest(rows, kinds)} Correct the word."
        )
    if rows != "sentences" and objective not in TEXT_OBJECTIVES:
        raise OptionError(
            f"The rows are '{rows}' and the objective is {objective}. Expected {' or '.join(TEXT_OBJECTIVES)} beside "
            "them: labelled data has a row for each sentence or text. Leave the rows out, or learn from plain text."
        )


def plan_training(order: Order) -> Plan:
    """Give the plan that a graft is trained in: over what is below it, or mixing what it fuses."""
    own: Plan = Named(order.name)
    if order.fuse:
        own = Fuse(tuple(drop_versions(parse_plan(member)) for member in order.fuse), own)
    below = None if order.under is None else drop_versions(parse_plan(order.under))
    return stack_over(below, own)


def list_below(order: Order) -> list[Named]:
    """List the grafts of the plan that a graft is trained in, without itself, lowest first."""
    plans = [*(() if order.under is None else (order.under,)), *order.fuse]
    return [named for plan in plans for named in list_names(parse_plan(plan))]


def check_names(order: Order) -> None:
    """Refuse a name that no graft may have, or that is in the plan below the graft already.

    Raises:
        StoreError: The name has what a name may not have.
        PlanError: It is in the plan, or the plan cannot be read.
    """
    check_name(order.name)
    check_no_graft(order.name)
    taken = {order.name}
    for named in list_below(order):
        if named.name in taken:
            below = " and ".join((*(() if order.under is None else (order.under,)), *order.fuse))
            raise PlanError(
                f"The plan '{below}' below the new graft '{order.name}' names '{named.name}', which is there "
                "already. Each graft stands in a plan once. Choose another name."
            )
        taken.add(named.name)


def hash_order(base: Base, order: Order, below: Mapping[str, Graft]) -> str:
    """Hash all that the trained values depend on."""
    asked = dataclasses.asdict(order)
    del asked["reading"]
    # What changes no number is left out, and so is what was not there when orders were first carried out.
    settings = asked["settings"]
    del settings["recompute"]
    if not order.settings.compile:
        del settings["compile"]
    if not order.settings.dropout:
        del settings["dropout"]
    settings["checkpoint_every"] = CHECKPOINT_EVERY
    if settings["precision"] is None:
        del settings["precision"]
    if not order.fuse:
        del asked["fuse"]
    if order.rows == "sentences":
        del asked["rows"]
    if order.from_layer is None:
        del asked["from_layer"]
    if order.part == BOTTLENECK:
        del asked["part"]
    if not order.options:
        del asked["options"]
    # Where the output of frozen layers is kept changes no number, unless it is rounded.
    for key in ("cache_gib",) if order.cache == "half" else ("cache", "cache_gib"):
        del asked[key]
    count = load_launch().count
    plan = plan_training(order)
    # Other than stacks, what is below is not told by the names of the grafts alone.
    is_stack = plan == stack_names([*below, order.name])
    facts = {
        **asked,
        **({} if is_stack else {"plan": str(plan)}),
        **({} if count == 1 else {"processes": count}),
        "form": FORM,
        "base": [base.fingerprint, base.tokenizer_fingerprint, base.head_fingerprint, f"torch.{base.dtype}"],
        # What the others of `reading` say is in what identifies the data.
        "token_column": order.reading.token_column,
        "tag_column": order.reading.tag_column,
        "train": _identify(order, order.train),
        "dev": None if order.dev is None else _identify(order, order.dev),
        "under": [
            [graft.name, graft.manifest.sha256, [[part.kind, part.to_options()] for part in graft.parts]]
            for graft in below.values()
            if graft.manifest is not None
        ],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _identify(order: Order, path: Path) -> str:
    kind: Kind = "text" if order.objective in ("mlm", "causal") else order.objective
    return Source(path=path, kind=kind, reading=order.reading).identify()
