"""`polygraft grafts merge`: several grafts become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from polygraft.cli.compare import read_name
from polygraft.cli.console import write_json
from polygraft.cli.grafts import show_manifest, summarise
from polygraft.cli.loading import open_base
from polygraft.cli.options import BaseOption, JsonOption, StoreOption
from polygraft.errors import OptionError

if TYPE_CHECKING:
    from polygraft.store.manifest import Manifest

GraftsArgument = Annotated[
    list[str],
    typer.Argument(metavar="GRAFT...", help="Two grafts or more that were made alike, as `qu` or `qu@2`."),
]
HowOption = Annotated[
    Literal["interpolate", "add", "subtract", "ties", "dare"],
    typer.Option("--how", help="By which formula; docs/merging.md says when to choose which."),
]


def merge(
    *,
    grafts: GraftsArgument,
    name: Annotated[str, typer.Option("--name", metavar="NEW", help="What the new graft is called.")],
    how: HowOption = "interpolate",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", metavar="W,W,...", help="One for each graft, as 0.3,0.7; equal if none is given."
        ),
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(
            "--density", help="For ties: share of its values that each graft keeps; 0.2 if not given."
        ),
    ] = None,
    drop: Annotated[
        float | None,
        typer.Option(
            "--drop", help="Chance at which values are dropped first; 0.5 for dare, 0 for the others."
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="What the merged difference is multiplied by.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Where the chances come from.")] = 0,
    base: BaseOption,
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Merge grafts that were made alike into a new one, which says what it was made of."""
    from polygraft.attach.merging import Merging
    from polygraft.recipe.merge import check_one_base, merge_stored
    from polygraft.store.store import Store

    merging = Merging(
        how=how, weights=_read_weights(weights), density=density, drop=drop, scale=scale, seed=seed
    )
    wanted = [read_name(text) for text in grafts]
    if len(wanted) < 2:
        raise OptionError(
            f"One graft was named, '{grafts[0]}'. Expected two or more that are merged. Name them one after the other."
        )
    merging.list_weights(len(wanted))
    opened = Store(store)
    stored = [opened.get(named.name, version=named.version) for named in wanted]
    check_one_base([manifest for manifest, _ in stored])
    opened.prepare([name])
    # Where and in which format it would be computed does not matter: nothing is.
    loaded = open_base(base, device="cpu", dtype="float32")
    manifest = merge_stored(loaded, stored, name=name, merging=merging, store=opened)
    if as_json:
        write_json(_list_values(manifest))
    else:
        show_manifest(manifest)


def _read_weights(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise OptionError(
            f"The weights '{text}' cannot be read. Expected one number for each graft with commas between them, such "
            "as 0.3,0.7. Correct them."
        ) from None


def _list_values(manifest: Manifest) -> dict[str, object]:
    members = [vars(member) for member in manifest.members]
    return {**summarise(manifest), "settings": dict(manifest.hyperparameters), "members": members}
