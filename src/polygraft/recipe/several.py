"""Trains several grafts of one task in one pass, outside of a recipe: the same order with other seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from polygraft.errors import OptionError, TrainError
from polygraft.recipe.corpus import ignore
from polygraft.recipe.in_progress import CHECKPOINTS, hold_folder
from polygraft.recipe.order import check_names, hash_order
from polygraft.recipe.single import NO_GRAFTS, Started, find_done, finish, load_below, never, start
from polygraft.recipe.single_data import prepare
from polygraft.train.loop import Interrupted
from polygraft.train.together import run_together
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.recipe.order import Order
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store
    from polygraft.train.step import Step


def spread_seeds(order: Order, seeds: Sequence[int]) -> list[Order]:
    """Make an order for each seed, of a graft NAME-sSEED.

    Args:
        order: What they have in common; its name and seed are replaced.
        seeds: Each once.

    Example:
        >>> from pathlib import Path
        >>> from polygraft.recipe.order import Order
        >>> from polygraft.train.settings import TrainSettings
        >>> order = Order(
        ...     name="ner", objective="tokens", train=Path("a.conll"), settings=TrainSettings(epochs=1)
        ... )
        >>> [(each.name, each.settings.seed) for each in spread_seeds(order, [0, 7])]
        [('ner-s0', 0), ('ner-s7', 7)]
    """
    return [
        dataclasses.replace(
            order, name=f"{order.name}-s{seed}", settings=dataclasses.replace(order.settings, seed=seed)
        )
        for seed in seeds
    ]


def train_grafts(
    base: Base,
    orders: Sequence[Order],
    *,
    store: Store,
    any_base: bool = False,
    should_stop: Callable[[], bool] = never,
    notify: Callable[[str], None] = ignore,
) -> Generator[tuple[Order, Step | Manifest]]:
    """Train several grafts side by side and store each, telling every update and at its end each manifest.

    They share what the frozen layers below them give for the same rows. Each ends with the bytes that `train_graft`
    gives it, and so an order that was carried out before, by either of them, is not carried out again. One that cannot
    go on is left out, and its error raised once the others are stored.

    Args:
        base: The frozen base.
        orders: For labels, of one task: they differ in nothing but names and seeds.
        store: Where the grafts below are, and where the new ones go.
        any_base: Whether to accept grafts of another base below them.
        should_stop: Asked between updates; when true, checkpoints of all are written and `Interrupted` raised.
        notify: Told sentences that a user should see.

    Yields:
        The order, and what happened to it.

    Raises:
        OptionError: The orders have more in which they differ, or the same name.
        PlanError: `under` names what is not there.
        DataError: A file cannot be read as what it should be.
        TrainError: The same training of one of them is at work already.
        Interrupted: `should_stop` said so.
        TrainError: A graft could not be trained to its end.
    """
    check_alike(orders)
    below = load_below(base, orders[0], store, any_base=any_base)
    digests = {order.name: hash_order(base, order, below) for order in orders}
    waiting: list[Order] = []
    for order in orders:
        done = find_done(store, order, digests[order.name], notify=notify)
        if done is None:
            waiting.append(order)
        else:
            yield order, done
    if not waiting:
        return
    with ExitStack() as stack:
        for order in waiting:
            stack.enter_context(hold_folder(store, order.name, digests[order.name]))
        work = prepare(base, waiting[0], below, folder=store.folder / CHECKPOINTS, notify=notify)
        for sentence in work.sentences:
            notify(sentence)
        started: list[Started] = []
        for order in waiting:
            each = start(
                base,
                order,
                work,
                below=below,
                # One graft for all, so that they find what stands on it.
                averages=started[0].training.averages if started else NO_GRAFTS,
                digest=digests[order.name],
                store=store,
                should_stop=should_stop,
                notify=notify,
            )
            started.append(each)
        yield from _run(started, store)


def _run(started: Sequence[Started], store: Store) -> Iterator[tuple[Order, Step | Manifest]]:
    """Train all, and store each as soon as it has ended."""
    stored: dict[str, Manifest] = {}
    told: list[tuple[Order, Manifest]] = []

    def keep(number: int) -> None:
        order = started[number].order
        stored[order.name] = finish(started[number], store)
        told.append((order, stored[order.name]))

    try:
        with closing(run_together([each.training for each in started], finished=keep)) as steps:
            for number, step in steps:
                yield from told
                told.clear()
                yield started[number].order, step
    except Interrupted:
        yield from told
        raise Interrupted(_say_stopped([each for each in started if each.order.name not in stored])) from None
    except TrainError as error:
        yield from told
        if stored:
            names = ", ".join(f"'{name}'" for name in stored)
            error.add_note(f"What could be trained to its end is stored: {names}.")
        raise
    yield from told


def check_alike(orders: Sequence[Order]) -> None:
    """Refuse orders that cannot be carried out in one pass.

    Raises:
        OptionError: There is none, they are of text, have the same name, or differ in more than names and seeds.
    """
    if not orders:
        raise OptionError("No graft was asked for. Expected one order or more. Give one for each seed.")
    for order in orders:
        check_names(order)
        if order.objective in TEXT_OBJECTIVES:
            raise OptionError(
                f"The graft '{order.name}' learns from plain text. Expected grafts that learn labels: only these share "
                "what frozen layers give. Train it alone."
            )
    names = [order.name for order in orders]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise OptionError(
            f"Two grafts of one pass are called '{twice[0]}'. Expected a name for each. Rename one of them."
        )
    first = orders[0]
    for order in orders[1:]:
        settings = dataclasses.replace(order.settings, seed=first.settings.seed)
        if dataclasses.replace(order, name=first.name, settings=settings) != first:
            raise OptionError(
                f"The grafts '{first.name}' and '{order.name}' were to be trained in one pass, and differ in more than "
                "name and seed. Expected the same data and settings. Train them one after the other."
            )


def _say_stopped(started: Sequence[Started]) -> str:
    names = ", ".join(f"'{each.order.name}'" for each in started)
    trainings = [each.training for each in started]
    done = sum(training.progress.step for training in trainings)
    total = sum(training.total for training in trainings)
    return (
        f"Training of {names} was stopped after {done} of {total} steps, and all of it is saved. Give the same command "
        "again to go on."
    )
