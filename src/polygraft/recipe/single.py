"""Trains one graft outside of a recipe, from a few options and files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polygraft.attach.graft import Graft, make_graft, rebuild_graft
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import list_names
from polygraft.recipe.corpus import ignore
from polygraft.recipe.in_progress import CHECKPOINTS, find_folder, hold_folder
from polygraft.recipe.order import Order, check_names, hash_order, list_below, plan_training
from polygraft.recipe.record import NOTHING, describe_text, record_training
from polygraft.recipe.single_data import Work, list_data, prepare
from polygraft.recipe.single_parts import list_parts
from polygraft.recipe.workshop import point_back, put_once
from polygraft.settings import load_launch
from polygraft.store.manifest import Manifest
from polygraft.train.checkpoint import Checkpoints
from polygraft.train.loop import Training
from polygraft.types import TEXT_OBJECTIVES

NO_GRAFTS: Mapping[str, Graft] = {}

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.store.store import Store
    from polygraft.train.step import Step


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
) -> Generator[Step | Manifest]:
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
        TrainError: The same training is at work already.
        Interrupted: `should_stop` said so.
    """
    below = load_below(base, order, store, any_base=any_base)
    digest = hash_order(base, order, below)
    done = find_done(store, order, digest, notify=notify)
    if done is not None:
        yield done
        return
    with hold_folder(store, order.name, digest):
        work = prepare(base, order, below, folder=store.folder / CHECKPOINTS, notify=notify)
        for sentence in work.sentences:
            notify(sentence)
        started = start(
            base, order, work, below=below, digest=digest, store=store, should_stop=should_stop, notify=notify
        )
        yield from started.training.run()
        stored = finish(started, store)
    yield stored


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


def start(
    base: Base,
    order: Order,
    work: Work,
    *,
    below: Mapping[str, Graft],
    averages: Mapping[str, Graft] = NO_GRAFTS,
    digest: str,
    store: Store,
    should_stop: Callable[[], bool],
    notify: Callable[[str], None],
) -> Started:
    """Make the graft of an order, and its training; `averages` are those of one beside it."""
    fused = [below[named.name] for plan in order.fuse for named in list_names(parse_plan(plan))]
    parts = list_parts(order, skip_layers=work.skip_layers, head=work.head, fused=fused)
    graft = make_graft(base, order.name, parts, seed=order.settings.seed)
    training = Training(
        base=base,
        graft=graft,
        plans=[plan_training(order)],
        grafts={**below, **averages, order.name: graft},
        objective=work.objective,
        settings=order.settings,
        evaluate=work.evaluate,
        checkpoints=Checkpoints(find_folder(store, order.name, digest), key=digest),
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
        data=list_data(order, started.work),
        members=[graft.manifest for graft in started.below.values() if graft.manifest is not None],
        step=started.digest,
        further=describe_text(order.rows, order.vocabulary, order.negatives)
        if order.objective in TEXT_OBJECTIVES
        else NOTHING,
    )
    stored = put_once(store, manifest, training.graft.tensors(), processes=training.processes)
    if training.checkpoints is not None:
        training.checkpoints.clear()
    return stored


def load_below(base: Base, order: Order, store: Store, *, any_base: bool) -> dict[str, Graft]:
    """Load the grafts below the new one, lowest first."""
    check_names(order)
    grafts: dict[str, Graft] = {}
    for named in list_below(order):
        manifest, tensors = store.get(named.name, version=named.version)
        grafts[named.name] = rebuild_graft(
            base, manifest, tensors, any_base=any_base, folder=store.find_folder(manifest)
        )
    return grafts
