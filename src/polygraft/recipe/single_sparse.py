"""Trains a graft that changes or prunes the base's weights, outside of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from polygraft.recipe.bench import Bench, Phase, hash_facts
from polygraft.recipe.corpus import ignore
from polygraft.recipe.full import run_full
from polygraft.recipe.imp import list_level_facts, run_imp
from polygraft.recipe.in_progress import CHECKPOINTS, hold_folder
from polygraft.recipe.lt_sft import run_lt_sft
from polygraft.recipe.methods import (
    Full,
    Imp,
    LtSft,
    Method,
    Movement,
    PackNet,
    Piggyback,
    Structured,
    describe_method,
)
from polygraft.recipe.movement import run_movement
from polygraft.recipe.order import Order, hash_order, plan_training
from polygraft.recipe.outcome import Label, Outcome, record_outcome
from polygraft.recipe.packnet import run_packnet
from polygraft.recipe.piggyback import run_piggyback
from polygraft.recipe.record import NOTHING, describe_text
from polygraft.recipe.single import find_done, load_below, never
from polygraft.recipe.single_data import list_data, prepare
from polygraft.recipe.structured import run_structured
from polygraft.recipe.workshop import put_once
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store
    from polygraft.train.step import Step

FORM = 2
"""Raised when the same order would give other numbers than before."""


@dataclass(frozen=True, kw_only=True)
class SparseOrder:
    """A graft that is to be made by changing or pruning weights."""

    order: Order
    """The data, the grafts below, and how each phase trains; what it says of bottlenecks does not count."""
    method: Method


def run_method(bench: Bench, method: Method) -> Generator[Step | Phase | Outcome]:
    """Do what a method does, telling each phase and update, and each graft that comes out."""
    match method:
        case Imp():
            yield from run_imp(bench, method)
        case Full():
            yield from run_full(bench, method)
        case LtSft():
            yield from run_lt_sft(bench, method)
        case Piggyback():
            yield from run_piggyback(bench, method)
        case PackNet():
            yield from run_packnet(bench, method)
        case Movement():
            yield from run_movement(bench, method)
        case Structured():
            yield from run_structured(bench, method)
        case _:
            raise AssertionError(method.kind)


def train_sparse(
    base: Base,
    wanted: SparseOrder,
    *,
    store: Store,
    any_base: bool = False,
    should_stop: Callable[[], bool] = never,
    notify: Callable[[str], None] = ignore,
) -> Generator[Step | Phase | Manifest]:
    """Make grafts by a method and store them, telling each phase, every update, and the manifest of each graft.

    An order that was carried out before gives its last graft's manifest at once; one that was stopped goes on where it
    was.

    Args:
        base: The frozen base.
        wanted: What to train, and by which method.
        store: Where the grafts below are, and where the new ones go.
        any_base: Whether to accept grafts of another base below.
        should_stop: Asked between updates; when true, a checkpoint is written and `Interrupted` raised.
        notify: Told sentences that a user should see.

    Raises:
        OptionError: The method asks for what the base does not have; before anything is trained.
        PlanError: `under` names what is not there, or no masked-LM head is.
        DataError: A file cannot be read as what it should be.
        TrainError: The same training is at work already.
        Interrupted: `should_stop` said so.
    """
    order = replace(wanted.order, reduction=0, from_layer=None, invertible=False)
    below = load_below(base, order, store, any_base=any_base)
    key = hash_facts(hash_order(base, order, below), FORM)
    done = find_done(store, order, hash_facts(key, *_list_facts(wanted.method)), notify=notify)
    if done is not None:
        yield done
        return
    # A method with other levels goes on with the same dense weights: so the method is named, and nothing more of it.
    with hold_folder(store, order.name, hash_facts(key, wanted.method.kind)) as folder:
        work = prepare(base, order, below, folder=store.folder / CHECKPOINTS, notify=notify)
        for sentence in work.sentences:
            notify(sentence)
        label = Label(
            objective=order.objective,
            data=list_data(order, work),
            members=[graft.manifest for graft in below.values() if graft.manifest is not None],
            further=describe_text(order.rows, order.vocabulary, order.negatives)
            if order.objective in TEXT_OBJECTIVES
            else NOTHING,
        )
        bench = Bench(
            base=base,
            name=order.name,
            below=below,
            plans=[plan_training(order)],
            objective=work.objective,
            settings=order.settings,
            evaluate=work.evaluate,
            head=work.head,
            skip_layers=work.skip_layers,
            folder=folder,
            key=key,
            should_stop=should_stop,
            notify=notify,
        )
        with closing(run_method(bench, wanted.method)) as items:
            for item in items:
                yield (
                    _keep(item, item.name or order.name, label, store) if isinstance(item, Outcome) else item
                )
        bench.clear()


def _list_facts(method: Method) -> list[object]:
    """List what the last graft of a method depends on beside the data."""
    if isinstance(method, Imp):
        return list_level_facts(method, method.sparsities[-1])
    return [describe_method(method)]


def _keep(outcome: Outcome, name: str, label: Label, store: Store) -> Manifest:
    """Store a graft that came out, once, and give its manifest."""
    found = store.find_step(outcome.digest, name=name)
    is_there = found is not None and found[0].name == name
    processes = outcome.training.processes
    # All processes ask before the first one writes.
    if processes.agree(on=is_there) and found is not None:
        return found[0]
    manifest = record_outcome(outcome, graft=outcome.graft, name=name, label=label, step=outcome.digest)
    return put_once(store, manifest, outcome.graft.tensors(), processes=processes)
