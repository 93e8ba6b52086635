"""Trains one graft outside of a recipe, from a few options and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polygraft.attach.graft import Graft, make_graft, rebuild_graft
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Named, Stack, list_names
from polygraft.data.masking import Masking
from polygraft.data.open import file_digest
from polygraft.errors import OptionError, PlanError
from polygraft.evaluate.run import find_max_length
from polygraft.parts.bottleneck import Bottleneck, BottleneckLayers
from polygraft.parts.head import Head, MaskedLmLayers
from polygraft.parts.invertible import Invertible
from polygraft.recipe.corpus import (
    describe_one_line,
    find_labels,
    ignore,
    load_texts,
    read_examples,
)
from polygraft.recipe.objectives import make_held_out_loss, make_labelling, make_masked_lm, score_examples
from polygraft.recipe.record import record_training
from polygraft.recipe.workshop import point_back, put_once
from polygraft.settings import load_launch
from polygraft.store.manifest import DataRecord, Manifest, check_name
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.train.prefix import PrefixCache

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.data.encode import EncodedText
    from polygraft.parts.part import Part
    from polygraft.recipe.corpus import Examples
    from polygraft.store.store import Store
    from polygraft.train.objective import Objective
    from polygraft.train.settings import TrainSettings
    from polygraft.train.step import Step

FORM = 3
"""Raised when the same order would give other numbers than before."""
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
    negatives: int = 0
    """Pieces that the text does not have and that are scored all the same, drawn by chance; only for `mlm`."""
    head_layer: int | None = None
    """After how many layers a head reads; for `mlm` None trains no head."""
    token_column: int = 0
    tag_column: int = -1


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an order becomes once its files are read."""

    graft: Graft
    objective: Objective
    num_examples: Mapping[str, int]
    evaluate: Callable[[Attachment], float] | None = None
    sentences: tuple[str, ...] = ()
    """What a user should know."""


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
    check_name(order.name)
    below = _load_below(base, order, store, any_base=any_base)
    digest = _hash_order(base, order, below)
    done = store.find_step(digest, name=order.name)
    if done is not None and done[0].name == order.name:
        sentence = point_back(store, done[0], maker="command") if load_launch().is_first else None
        if sentence is not None:
            notify(sentence)
        yield done[0]
        return
    folder = store.folder / ".checkpoints"
    work = (
        _prepare_mlm(base, order, below, notify)
        if order.objective == "mlm"
        else _prepare_labels(base, order, folder=folder)
    )
    for sentence in work.sentences:
        notify(sentence)
    names = tuple(Named(name) for name in (*below, order.name))
    checkpoints = Checkpoints(folder / order.name, key=digest)
    training = Training(
        base=base,
        graft=work.graft,
        plans=[names[0] if len(names) == 1 else Stack(names)],
        grafts={**below, order.name: work.graft},
        objective=work.objective,
        settings=order.settings,
        evaluate=work.evaluate,
        checkpoints=checkpoints,
        should_stop=should_stop,
        notify=notify,
    )
    yield from training.run()
    manifest = record_training(
        training,
        graft=work.graft,
        objective=order.objective,
        data=_list_data(order, work),
        members=[graft.manifest for graft in below.values() if graft.manifest is not None],
        step=digest,
    )
    stored = put_once(store, manifest, work.graft.tensors(), processes=training.processes)
    checkpoints.clear()
    yield stored


def _load_below(base: Base, order: Order, store: Store, *, any_base: bool) -> dict[str, Graft]:
    """Load the grafts below the new one, lowest first."""
    if order.under is None:
        return {}
    grafts: dict[str, Graft] = {}
    for named in list_names(parse_plan(order.under)):
        if named.name == order.name or named.name in grafts:
            raise PlanError(
                f"The plan '{order.under}' below the new graft '{order.name}' names '{named.name}', which is there "
                "already. Each graft stands in a plan once. Choose another name."
            )
        manifest, tensors = store.get(named.name, version=named.version)
        grafts[named.name] = rebuild_graft(base, manifest, tensors, any_base=any_base)
    return grafts


def _hash_order(base: Base, order: Order, below: Mapping[str, Graft]) -> str:
    """Hash all that the trained values depend on."""
    asked = dataclasses.asdict(order)
    # What changes no number is left out, and so is what was not there when orders were first carried out.
    settings = asked["settings"]
    del settings["recompute"], settings["compile"]
    if settings["precision"] is None:
        del settings["precision"]
    if order.from_layer is None:
        del asked["from_layer"]
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


def _find_read_layers(base: Base, order: Order, below: Mapping[str, Graft]) -> int:
    """Give how many layers the masked-LM head in force reads."""
    if order.head_layer is not None:
        layer = order.head_layer
    else:
        heads = [graft.find_head() for graft in below.values()]
        layers = [head.options.layer for head in heads if isinstance(head, MaskedLmLayers)]
        if not layers and base.head is None:
            raise PlanError(
                f"The base '{base.name}' has no masked-LM head, and no graft below '{order.name}' has one. Expected "
                "one to train against. Train one with it (--head-layer 8), or name a graft that has one "
                "(--under mlm)."
            )
        layer = layers[-1] if layers else -1
    return base.sites.num_layers if layer == -1 else layer


def _list_restored_layers(below: Mapping[str, Graft]) -> set[int]:
    """List the layers with a bottleneck of a graft that has a masked-LM head: language grafts stand below it."""
    return {
        layer
        for graft in below.values()
        if isinstance(graft.find_head(), MaskedLmLayers)
        for layers in graft.layers.children()
        if isinstance(layers, BottleneckLayers)
        for layer, _ in layers.list_places()
    }


def _list_skipped_layers(base: Base, order: Order, below: Mapping[str, Graft]) -> tuple[int, ...]:
    """List the layers in which a graft that learns from plain text gets no bottleneck."""
    num_layers = base.sites.num_layers
    above = range(_find_read_layers(base, order, below), num_layers)
    skipped = {*order.skip_layers, *above, *_list_restored_layers(below)}
    if order.from_layer is None:
        return tuple(sorted(skipped))
    free = [layer for layer in range(num_layers) if not skipped & {layer, layer - num_layers}]
    if order.reduction and free and not 0 <= order.from_layer <= free[-1]:
        raise OptionError(
            f"The bottleneck of '{order.name}' would begin at layer {order.from_layer}, and the layers that may have "
            f"one are {', '.join(map(str, free))}, counted from 0. Expected a number from 0 to {free[-1]}. Give "
            "another --from-layer."
        )
    return tuple(sorted({*skipped, *range(order.from_layer)}))


def _make_parts(order: Order, *, skip_layers: tuple[int, ...], head: Head | None) -> list[Part]:
    parts: list[Part] = []
    if order.reduction:
        parts.append(Bottleneck(reduction=order.reduction, skip_layers=skip_layers))
    if order.invertible:
        parts.append(Invertible())
    if head is not None:
        parts.append(head)
    if not parts:
        raise OptionError(
            f"The graft '{order.name}' would have no part: the reduction is 0, and no head or invertible part is "
            "asked for. Give a reduction above 0, such as 2."
        )
    return parts


def _prepare_mlm(base: Base, order: Order, below: Mapping[str, Graft], notify: Callable[[str], None]) -> Work:
    skip = _list_skipped_layers(base, order, below)
    head = None if order.head_layer is None else Head(objective="mlm", layer=order.head_layer)
    parts = _make_parts(order, skip_layers=skip, head=head)
    graft = make_graft(base, order.name, parts, seed=order.settings.seed)
    text, held_out, num_examples = _read_texts(base, order, notify)
    objective = make_masked_lm(
        base, text, masking=Masking(), num_negatives=order.negatives, seed=order.settings.seed
    )
    if held_out is None:
        sentences = (describe_one_line(order.train),)
        return Work(graft=graft, objective=objective, num_examples=num_examples, sentences=sentences)
    evaluate = make_held_out_loss(base, objective, held_out, seed=order.settings.seed)
    return Work(graft=graft, objective=objective, num_examples=num_examples, evaluate=evaluate)


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
    parts = _make_parts(order, skip_layers=order.skip_layers, head=head)
    cache = PrefixCache(folder=folder)
    objective, sentence = make_labelling(base, examples, labels=labels, source=order.train, cache=cache)

    def evaluate(attachment: Attachment) -> float:
        assert dev is not None
        return score_examples(attachment, dev, task=order.name, language="und", condition="dev")[0].score

    return Work(
        graft=make_graft(base, order.name, parts, seed=order.settings.seed),
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
