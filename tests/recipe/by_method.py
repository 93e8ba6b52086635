"""Orders of methods on the small data, carried out on a tiny base."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tests.tiny import make_base
from torch import Tensor

from polygraft.attach.graft import Graft, rebuild_graft
from polygraft.attach.plan import Named
from polygraft.attach.sparse import find_edit, read_places, read_values
from polygraft.base.base import Base
from polygraft.parts.edit import EditLayers
from polygraft.recipe.bench import Bench, Phase
from polygraft.recipe.methods import Method
from polygraft.recipe.order import Order
from polygraft.recipe.single_data import prepare
from polygraft.recipe.single_sparse import SparseOrder, train_sparse
from polygraft.store.manifest import Manifest
from polygraft.store.store import Store
from polygraft.train.settings import TrainSettings
from polygraft.train.step import Step

SETTINGS = TrainSettings(steps=4, batch_tokens=96, lr=0.01)
FILES: dict[str, dict[str, Path]] = {
    "mlm": {"train": Path("data/en.txt")},
    "tokens": {"train": Path("data/train.conll"), "dev": Path("data/dev.conll")},
}


def make_order(**changes: Any) -> Order:
    objective = changes.get("objective", "tokens")
    chosen = {"name": "new", "objective": objective, "settings": SETTINGS, **FILES[objective], **changes}
    return Order(**chosen)


def carry_out(
    method: Method,
    order: Order | None = None,
    *,
    store: str = "store",
    base: Base | None = None,
    **options: Any,
) -> tuple[list[Phase], list[Step], list[Manifest]]:
    """What a method tells, by kind."""
    wanted = SparseOrder(order=make_order() if order is None else order, method=method)
    chosen = make_base("bert") if base is None else base
    items = list(train_sparse(chosen, wanted, store=Store(Path(store)), **options))
    return (
        [item for item in items if isinstance(item, Phase)],
        [item for item in items if isinstance(item, Step)],
        [item for item in items if isinstance(item, Manifest)],
    )


def make_bench() -> Bench:
    """Where methods work on the small data, with nothing done yet."""
    base, order = make_base("bert"), make_order()
    work = prepare(base, order, {}, folder=Path("store"), notify=lambda sentence: None)
    return Bench(
        base=base,
        name="new",
        below={},
        plans=[Named("new")],
        objective=work.objective,
        settings=SETTINGS,
        evaluate=None,
        head=work.head,
        skip_layers=(),
        folder=Path("checkpoints"),
        key="",
        should_stop=lambda: False,
        notify=lambda sentence: None,
    )


def load_graft(name: str, *, store: str = "store", base: Base | None = None) -> Graft:
    return rebuild_graft(make_base("bert") if base is None else base, *Store(Path(store)).get(name))


def read_mask(name: str, *, store: str = "store", base: Base | None = None) -> dict[str, Tensor]:
    """The places that a stored graft keeps or changes."""
    return read_places(find_edit(load_graft(name, store=store, base=base), EditLayers))


def count(masks: dict[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def read_bytes(store: str) -> dict[str, bytes]:
    """The tensors of every stored graft, bit for bit."""
    folder = Path(store)
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*/*.safetensors"))
    }


def stop_after(number: int) -> Callable[[], bool]:
    asked: list[int] = []
    return lambda: bool(asked.append(1)) or len(asked) == number


def change_settings(**changes: Any) -> TrainSettings:
    return dataclasses.replace(SETTINGS, **changes)


def read_flat(name: str, *, store: str = "store") -> Tensor:
    """The values of a stored graft, all weights one after the other, 0 where it has none."""
    values = read_values(find_edit(load_graft(name, store=store), EditLayers))
    return torch.cat([each.flatten() for each in values.values()])


def flatten(masks: dict[str, Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


def read_base(names: dict[str, Tensor]) -> Tensor:
    """The base's own weights of these names, one after the other."""
    weights = dict(make_base("bert").model.named_parameters())
    return torch.cat([weights[name].detach().flatten() for name in names])


def keep_slowly(values: Tensor, num_kept: int) -> list[int]:
    """The places of the largest numbers, of equal ones the first: all in one list, sorted."""
    sizes = values.abs().tolist()
    return sorted(sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))[:num_kept])


def read_checkpoint(phase: str, step: int, *, store: str = "store") -> dict[str, Tensor]:
    """The values of the graft in training after a step, as long as its checkpoint is there."""
    [path] = Path(f"{store}/.checkpoints").glob(f"new-*/{phase}/step-{step:09d}-*")
    tensors = load_file(path / "state.safetensors")
    return {name.removeprefix("graft/"): each for name, each in tensors.items() if name.startswith("graft/")}
