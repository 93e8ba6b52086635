"""Trains one graft outside of a recipe, from a few options and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polygraft.attach.graft import Graft, make_graft, rebuild_graft
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Named, Stack, list_names
from polygraft.data.masking import Masking
from polygraft.data.open import file_digest
from polygraft.errors import PlanError
from polygraft.evaluate.run import find_max_length
from polygraft.parts.head import Head
from polygraft.recipe.caching import CACHE_GIB, CacheKind, check_cache, open_cache
from polygraft.recipe.corpus import (
    describe_one_line,
    find_labels,
    ignore,
    load_texts,
    read_examples,
)
from polygraft.recipe.objectives import make_held_out_loss, make_labelling, make_masked_lm, score_examples
from polygraft.recipe.record import NOTHING, describe_scored, record_training
from polygraft.recipe.single_parts import list_parts, list_skipped_layers
from polygraft.recipe.workshop import point_back, put_once
from polygraft.settings import load_launch
from polygraft.store.manifest import DataRecord, Manifest, check_name
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.train.settings import NUM_NEGATIVES, TrainSettings

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.data.encode import EncodedText
    from polygraft.parts.part import Part
    from polygraft.recipe.corpus import Examples
    from polygraft.store.store import Store
    from polygraft.train.objective import Objective
    from polygraft.train.step import Step

FORM = 4
"""Raised when the same order would give other numbers than before."""
CHECKPOINTS = ".checkpoints"
"""The folder in a store where trainings in progress are."""
NUM_HELD_OUT = 300
TEXT_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class Order:
    """A graft that is to be trained."""

    name: str
    """What plans will call it."""
    objective: Literal["mlm", "tokens", "sequence"]
    train: Path
    """Plain text, CoNLL, or label-tab-text."""
    settings: TrainSettings
    dev: Path | None = None
    """Held-out data; without it, masked language modelling keeps some lines apart, and labels keep none."""
    under: str | None = None
    """The plan of the frozen grafts below the new one."""
    reduction: float = 16
    """Of the bottleneck; 0 leaves it out."""
    skip_layers: tuple[int, ...] = ()
    from_layer: int | None = None
    """The first layer with a bottleneck, counted from 0; only for `mlm`."""
    invertible: bool = False
    negatives: int = NUM_NEGATIVES
    """Pieces that the text does not have and that are scored beside its own, others in every batch; only for `mlm`."""
    vocabulary: Literal["corpus", "full"] = "corpus"
    """Pieces that are scored: those of the text and the negatives (fast), or all (exact); only for `mlm`."""
    head_layer: int | None = None
    """After how many layers a head reads; for `mlm` None trains no head."""
    token_column: int = 0
    tag_column: int = -1
    cache: CacheKind = "exact"
    """How the output of the layers below a task's first bottleneck is kept for later epochs."""
    cache_gib: float = CACHE_GIB
    """Gigabytes (2**30 bytes) of it in memory; the rest lies in memory-mapped files in the store's folder."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_cache(self.cache, gib=self.cache_gib)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an order becomes once its files are read."""

    parts: Sequence[Part]
    objective: Objective
    num_examples: Mapping[str, int]
    evaluate: Callable[[Attachment], float] | None = None
    sentences: tuple[str, ...] = ()
    """What a user should know."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """An order whose training can be run."""

    order: Order
    work: Work
    training: Training
    below: Mapping[str, Graft]
    """The frozen grafts below the new one."""
    digest: str


def never() -> bool:
    """Do not stop."""
    return False


def train_graft(
    base: Base,
    order: Order,
    *,
    store: Store,
    any_base: bool = False,
    should_stop: Callable[[], bool] = never,
    notify: Callable[[str], None] = ignore,
) -> Iterator[Step | Manifest]:
    """Train one graft and store it, telling every update and at the end its manifest.

    An order that was carried out before gives the manifest at once; one that was stopped goes on where it was.

    Args:
        base: The frozen base.
        order: What to train.
        store: Where the grafts below are, and where the new one goes.
        any_base: Whether to accept grafts of another base below it.
        should_stop: Asked between updates; when true, a checkpoint is written and `Interrupted` raised.
        notify: Told sentences that a user should see.

    Raises:
        PlanError: `under` names what is not there, or no masked-LM head is.
        DataError: A file cannot be read as what it should be.
        Interrupted: `should_stop` said so.
    """
    below = load_below(base, order, store, any_base=any_base)
    digest = hash_order(base, order, below)
    done = find_done(store, order, digest, notify=notify)
    if done is not None:
        yield done
        return
    work = prepare(base, order, below, folder=store.folder / CHECKPOINTS, notify=notify)
    for sentence in work.sentences:
        notify(sentence)
    started = start(
        base, order, work, below=below, digest=digest, store=store, should_stop=should_stop, notify=notify
    )
    yield from started.training.run()
    yield finish(started, store)


def find_done(store: Store, order: Order, digest: str, *, notify: Callable[[str], None]) -> Manifest | None:
    """Give the graft of an order that was carried out before; its name means that version again.

    Args:
        store: Where it would be.
        order: What is asked for.
        digest: The order's, of `hash_order`.
        notify: Told where the name meant another version.
    """
    done = store.find_step(digest, name=order.name)
    if done is None or done[0].name != order.name:
        return None
    # Of several processes, the first one writes for all.
    sentence = point_back(store, done[0], maker="command") if load_launch().is_first else None
    if sentence is not None:
        notify(sentence)
    return done[0]


def prepare(
    base: Base, order: Order, below: Mapping[str, Graft], *, folder: Path, notify: Callable[[str], None]
) -> Work:
    """Read an order's files, and make what is learned from them.

    Args:
        base: The frozen base.
        order: What to train.
        below: The frozen grafts below the new one.
        folder: Where outputs of frozen layers lie that find no room in memory.
        notify: Told sentences that a user should see.
    """
    if order.objective == "mlm":
        return _prepare_mlm(base, order, below, notify)
    return _prepare_labels(base, order, folder=folder)


def start(
    base: Base,
    order: Order,
    work: Work,
    *,
    below: Mapping[str, Graft],
    digest: str,
    store: Store,
    should_stop: Callable[[], bool],
    notify: Callable[[str], None],
) -> Started:
    """Make the graft of an order, and its training."""
    graft = make_graft(base, order.name, work.parts, seed=order.settings.seed)
    names = tuple(Named(name) for name in (*below, order.name))
    training = Training(
        base=base,
        graft=graft,
        plans=[names[0] if len(names) == 1 else Stack(names)],
        grafts={**below, order.name: graft},
        objective=work.objective,
        settings=order.settings,
        evaluate=work.evaluate,
        checkpoints=Checkpoints(store.folder / CHECKPOINTS / order.name, key=digest),
        should_stop=should_stop,
        notify=notify,
    )
    return Started(order=order, work=work, training=training, below=below, digest=digest)


def finish(started: Started, store: Store) -> Manifest:
    """Store what was trained, remove its checkpoints, and give its manifest."""
    order, training = started.order, started.training
    manifest = record_training(
        training,
        graft=training.graft,
        objective=order.objective,
        data=_list_data(order, started.work),
        members=[graft.manifest for graft in started.below.values() if graft.manifest is not None],
        step=started.digest,
        further=describe_scored(order.vocabulary, order.negatives) if order.objective == "mlm" else NOTHING,
    )
    stored = put_once(store, manifest, training.graft.tensors(), processes=training.processes)
    if training.checkpoints is not None:
        training.checkpoints.clear()
    return stored


def check_names(order: Order) -> None:
    """Refuse a name that no graft may have, or that is in the plan below the graft already.

    Raises:
        StoreError: The name has what a name may not have.
        PlanError: It is in the plan, or the plan cannot be read.
    """
    check_name(order.name)
    taken = {order.name}
    for named in () if order.under is None else list_names(parse_plan(order.under)):
        if named.name in taken:
            raise PlanError(
                f"The plan '{order.under}' below the new graft '{order.name}' names '{named.name}', which is there "
                "already. Each graft stands in a plan once. Choose another name."
            )
        taken.add(named.name)


def load_below(base: Base, order: Order, store: Store, *, any_base: bool) -> dict[str, Graft]:
    """Load the grafts below the new one, lowest first."""
    check_names(order)
    grafts: dict[str, Graft] = {}
    for named in () if order.under is None else list_names(parse_plan(order.under)):
        manifest, tensors = store.get(named.name, version=named.version)
        grafts[named.name] = rebuild_graft(base, manifest, tensors, any_base=any_base)
    return grafts


def hash_order(base: Base, order: Order, below: Mapping[str, Graft]) -> str:
    """Hash all that the trained values depend on."""
    asked = dataclasses.asdict(order)
    # What changes no number is left out, and so is what was not there when orders were first carried out.
    settings = asked["settings"]
    del settings["recompute"], settings["compile"]
    if settings["precision"] is None:
        del settings["precision"]
    if order.from_layer is None:
        del asked["from_layer"]
    # Where the output of frozen layers is kept changes no number, unless it is rounded.
    for key in ("cache_gib",) if order.cache == "half" else ("cache", "cache_gib"):
        del asked[key]
    count = load_launch().count
    facts = {
        **asked,
        **({} if count == 1 else {"processes": count}),
        "form": FORM,
        "base": [base.fingerprint, base.tokenizer_fingerprint, base.head_fingerprint, f"torch.{base.dtype}"],
        "train": file_digest(order.train),
        "dev": None if order.dev is None else file_digest(order.dev),
        "under": [
            [graft.name, graft.manifest.sha256, [[part.kind, part.to_options()] for part in graft.parts]]
            for graft in below.values()
            if graft.manifest is not None
        ],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _prepare_mlm(base: Base, order: Order, below: Mapping[str, Graft], notify: Callable[[str], None]) -> Work:
    skip = list_skipped_layers(
        base,
        below,
        name=order.name,
        reads=order.head_layer,
        skip_layers=order.skip_layers,
        from_layer=order.from_layer if order.reduction else None,
    )
    head = None if order.head_layer is None else Head(objective="mlm", layer=order.head_layer)
    parts = list_parts(
        order.name, reduction=order.reduction, skip_layers=skip, invertible=order.invertible, head=head
    )
    text, held_out, num_examples = _read_texts(base, order, notify)
    objective = make_masked_lm(
        base,
        text,
        masking=Masking(),
        scores_all_pieces=order.vocabulary == "full",
        num_negatives=order.negatives,
    )
    if held_out is None:
        sentences = (describe_one_line(order.train),)
        return Work(parts=parts, objective=objective, num_examples=num_examples, sentences=sentences)
    evaluate = make_held_out_loss(base, objective, held_out, seed=order.settings.seed)
    return Work(parts=parts, objective=objective, num_examples=num_examples, evaluate=evaluate)


def _read_texts(
    base: Base, order: Order, notify: Callable[[str], None]
) -> tuple[EncodedText, EncodedText | None, Mapping[str, int]]:
    """Give the text that is learned from, the one that is kept apart, and how many lines each has."""
    load = partial(
        load_texts,
        max_length=min(TEXT_LENGTH, find_max_length(base)),
        notify=notify,
        tokenizer=base.tokenizer,
    )
    if order.dev is None:
        both = load(order.train, num_held_out=NUM_HELD_OUT)
        counts = {"train": both.num_lines - both.num_held_out, "dev": both.num_held_out}
        return both.train, both.held_out, counts
    train, dev = load(order.train), load(order.dev)
    return train.train, dev.train, {"train": train.num_lines, "dev": dev.num_lines}


def _prepare_labels(base: Base, order: Order, *, folder: Path) -> Work:
    examples = _read_examples(order, order.train)
    dev = None if order.dev is None else _read_examples(order, order.dev)
    labels = find_labels(examples, source=order.train)
    head = Head.from_options(
        {
            "objective": order.objective,
            "labels": list(labels),
            "layer": -1 if order.head_layer is None else order.head_layer,
        }
    )
    parts = list_parts(
        order.name,
        reduction=order.reduction,
        skip_layers=order.skip_layers,
        invertible=order.invertible,
        head=head,
    )
    cache = open_cache(order.cache, gib=order.cache_gib, folder=folder)
    objective, sentence = make_labelling(base, examples, labels=labels, source=order.train, cache=cache)

    def evaluate(attachment: Attachment) -> float:
        assert dev is not None
        return score_examples(attachment, dev, task=order.name, language="und", condition="dev")[0].score

    return Work(
        parts=parts,
        objective=objective,
        num_examples={"train": len(examples), "dev": 0 if dev is None else len(dev)},
        evaluate=None if dev is None else evaluate,
        sentences=() if sentence is None else (sentence,),
    )


def _read_examples(order: Order, path: Path) -> Examples:
    return read_examples(
        path, objective=order.objective, token_column=order.token_column, tag_column=order.tag_column
    )


def _list_data(order: Order, work: Work) -> list[DataRecord]:
    """List the files of an order for a manifest."""
    files = {"train": order.train, **({} if order.dev is None else {"dev": order.dev})}
    return [
        DataRecord(name=f"{use} {path.name}", sha256=file_digest(path), num_examples=work.num_examples[use])
        for use, path in files.items()
    ]
