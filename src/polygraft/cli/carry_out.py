"""Trains what a `polygraft train` command asks for: its progress, its log, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.cli.audience import gather_audience
from polygraft.cli.compacting import make_compact, show_compact, summarise_last
from polygraft.cli.console import say, show_table, write_json
from polygraft.cli.gathered import GatheredSteps
from polygraft.cli.grafts import show_manifest, summarise
from polygraft.cli.interrupt import stop_on_signals
from polygraft.cli.levels import build_level_table
from polygraft.cli.loading import open_base
from polygraft.cli.seeds import build_seed_table
from polygraft.cli.tracking import check_before, track_order
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.cli.audience import Audience
    from polygraft.recipe.bench import Phase
    from polygraft.recipe.order import Order
    from polygraft.recipe.single_sparse import SparseOrder
    from polygraft.store.manifest import Manifest
    from polygraft.store.store import Store
    from polygraft.train.step import Step
    from polygraft.train.trackers import Trackers


def carry_out(
    order: Order,
    *,
    seeds: Sequence[int] = (),
    base: str,
    store: Path,
    device: str,
    dtype: str,
    any_base: bool,
    log: Path | None,
    trackers: Sequence[str],
    as_json: bool,
) -> None:
    """Train one graft, or one for each seed, with its progress on standard error, and show what came out.

    Args:
        order: What to train.
        seeds: The seeds of several grafts in one pass; none trains the one of the order.
        base: Name of the frozen base.
        store: The folder of grafts.
        device: Where the base is computed.
        dtype: Its number format.
        any_base: Whether to accept grafts of another base below.
        log: The file to which each event is added as a line of JSON.
        trackers: What every update is logged to.
        as_json: Whether to show JSON instead of a table.
    """
    from polygraft.recipe.order import check_names
    from polygraft.recipe.several import check_alike, spread_seeds
    from polygraft.recipe.single_parts import check_parts

    # A base takes long to load: what is wrong with every one is told before.
    check_names(order)
    check_parts(order)
    orders = spread_seeds(order, seeds) if seeds else [order]
    if seeds:
        check_alike(orders)
    train = _train_several if seeds else _train_one
    _, stored = _carry(
        order,
        orders,
        partial(train, orders=orders),
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        log=log,
        trackers=trackers,
    )
    if not load_launch().is_first:
        return
    if as_json:
        write_json([summarise(manifest) for manifest in stored] if seeds else summarise(stored[0]))
    elif seeds:
        show_table(build_seed_table(f"{order.name}, one graft a seed", stored))
    else:
        show_manifest(stored[0])


def carry_out_method(
    wanted: SparseOrder,
    *,
    base: str,
    store: Path,
    device: str,
    dtype: str,
    any_base: bool,
    log: Path | None,
    trackers: Sequence[str],
    compact: Path | None,
    as_json: bool,
) -> None:
    """Make grafts by a method, with their progress on standard error, and show what came out.

    Args:
        wanted: What to train, and by which method.
        base: Name of the frozen base.
        store: The folder of grafts.
        device: Where the base is computed.
        dtype: Its number format.
        any_base: Whether to accept grafts of another base below.
        log: The file to which each event is added as a line of JSON.
        trackers: What every update is logged to.
        compact: The folder for a base without what was pruned; None writes none.
        as_json: Whether to show JSON instead of a table.
    """
    from polygraft.recipe.compact import check_compact
    from polygraft.store.store import Store

    order = wanted.order
    if compact is not None:
        check_compact(wanted.method, under=order.under, folder=compact)
    loaded, stored = _carry(
        order,
        [order],
        partial(_train_by_method, wanted=wanted),
        base=base,
        store=store,
        device=device,
        dtype=dtype,
        any_base=any_base,
        log=log,
        trackers=trackers,
    )
    if not load_launch().is_first:
        return
    report = None if compact is None else make_compact(loaded, Store(store), stored[-1], folder=compact)
    if as_json:
        write_json([*(summarise(manifest) for manifest in stored[:-1]), summarise_last(stored[-1], report)])
        return
    if len(stored) > 1:
        show_table(build_level_table(f"{order.name}, one graft a level", stored))
    show_manifest(stored[-1])
    if report is not None:
        show_compact(report)


def _carry(
    order: Order,
    orders: Sequence[Order],
    train: Callable[..., list[Manifest]],
    *,
    base: str,
    store: Path,
    device: str,
    dtype: str,
    any_base: bool,
    log: Path | None,
    trackers: Sequence[str],
) -> tuple[Base, list[Manifest]]:
    """Load the base and train, with a display, a log and trackers around it; give the base and what was stored.

    Args:
        order: What trackers are told of.
        orders: What the log is told of.
        train: Trains, given the base and what surrounds it.
    """
    from polygraft.recipe.log import open_log
    from polygraft.store.store import Store

    check_before(trackers)
    # Of several processes, the first one tells for all.
    with open_log(log if load_launch().is_first else None) as opened:
        loaded = open_base(base, device=device, dtype=dtype)
        with (
            stop_on_signals() as should_stop,
            gather_audience(opened) as audience,
            track_order(order, trackers, notify=audience.lose) as tracker,
        ):
            for each in orders:
                audience.write("TrainStarted", _describe_order(each, base=loaded, store=store))
            stored = train(
                loaded,
                store=Store(store),
                any_base=any_base,
                should_stop=should_stop,
                audience=audience,
                tracker=tracker,
            )
    return loaded, stored


def _train_by_method(
    base: Base,
    *,
    wanted: SparseOrder,
    store: Store,
    any_base: bool,
    should_stop: Callable[[], bool],
    audience: Audience,
    tracker: Trackers,
) -> list[Manifest]:
    from polygraft.recipe.single_sparse import train_sparse

    making = train_sparse(
        base,
        wanted,
        store=store,
        any_base=any_base,
        should_stop=should_stop,
        notify=audience.note,
    )
    name = wanted.order.name
    return _follow(making, name=name, verb="made", audience=audience, tracker=tracker)


def _train_one(
    base: Base,
    *,
    orders: Sequence[Order],
    store: Store,
    any_base: bool,
    should_stop: Callable[[], bool],
    audience: Audience,
    tracker: Trackers,
) -> list[Manifest]:
    from polygraft.recipe.single import train_graft

    (order,) = orders
    audience.display.begin(
        f"Training '{order.name}' ({order.objective}) on {order.train} ...", name=order.name
    )
    making = train_graft(
        base,
        order,
        store=store,
        any_base=any_base,
        should_stop=should_stop,
        notify=audience.note,
    )
    return _follow(making, name=order.name, verb="trained", audience=audience, tracker=tracker)


def _follow(
    making: Generator[Step | Phase | Manifest],
    *,
    name: str,
    verb: str,
    audience: Audience,
    tracker: Trackers,
) -> list[Manifest]:
    """Show, log and track what a training tells, and give the manifests of what it stored.

    Args:
        making: The training.
        name: What it is called until a phase has a name of its own.
        verb: What was done to a graft that was there before.
        audience: Who is told.
        tracker: What every update is logged to.
    """
    from polygraft.recipe.bench import Phase
    from polygraft.recipe.log import describe_step
    from polygraft.store.manifest import Manifest

    stored: list[Manifest] = []
    num_steps, phase = 0, name
    with closing(making):
        for item in making:
            if isinstance(item, Phase):
                phase = item.name
                audience.display.begin(item.title, name=item.name)
                audience.write("PhaseStarted", {"name": item.name, "title": item.title})
            elif isinstance(item, Manifest):
                stored.append(item)
                audience.write("TrainFinished", _describe_end(item, is_new=num_steps > 0))
            else:
                num_steps += 1
                audience.display.advance(item)
                audience.write("TrainStep", {"name": phase, **describe_step(item)})
                tracker.log(item, run=phase)
    if num_steps == 0 and load_launch().is_first:
        say(f"This very graft was {verb} before: it is version {stored[-1].version} of '{name}'.")
    return stored


def _train_several(
    base: Base,
    *,
    orders: Sequence[Order],
    store: Store,
    any_base: bool,
    should_stop: Callable[[], bool],
    audience: Audience,
    tracker: Trackers,
) -> list[Manifest]:
    from polygraft.recipe.log import describe_step
    from polygraft.recipe.several import train_grafts
    from polygraft.store.manifest import Manifest

    stored: dict[str, Manifest] = {}
    gathered = GatheredSteps(len(orders))
    names = ", ".join(f"'{order.name}'" for order in orders)
    first = orders[0]
    audience.display.begin(
        f"Training {names} ({first.objective}) on {first.train} ...", name=f"{len(orders)} seeds together"
    )
    making = train_grafts(
        base,
        orders,
        store=store,
        any_base=any_base,
        should_stop=should_stop,
        notify=audience.note,
    )
    with tracker.log_together(), closing(making):
        for order, item in making:
            if isinstance(item, Manifest):
                stored[order.name] = item
                is_new = order.name in gathered.last
                gathered.end(order.name)
                audience.write("TrainFinished", _describe_end(item, is_new=is_new))
                if not is_new:
                    audience.display.note(f"'{order.name}' was trained before: it is version {item.version}.")
            else:
                audience.display.advance(gathered.add(order.name, item))
                audience.write("TrainStep", {"name": order.name, **describe_step(item)})
                tracker.log(item, run=order.name)
    return [stored[order.name] for order in orders]


def _describe_order(order: Order, *, base: Base, store: Path) -> dict[str, object]:
    """Give what a log tells of a training that begins."""
    from polygraft.recipe.log import as_object

    return {**as_object(order), "base": base.name, "fingerprint": base.fingerprint, "store": store}


def _describe_end(manifest: Manifest, *, is_new: bool) -> dict[str, object]:
    """Give what a log tells of a training that has ended."""
    return {
        **summarise(manifest),
        "sha256": manifest.sha256,
        "settings": manifest.hyperparameters,
        "cost": manifest.cost,
        "is_new": is_new,
    }
