"""Carries out orders of methods in child processes that it kills; `test_killed.py` starts it as a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.recipe.by_method import change_settings
from tests.tiny import make_base
from tests.train.killer import kill_often

from polygraft.recipe.methods import Imp, LtSft, Method
from polygraft.recipe.order import Order
from polygraft.recipe.single_sparse import SparseOrder, train_sparse
from polygraft.store.store import Store

METHODS: Mapping[str, Method] = {
    "lt-sft": LtSft(density=0.1),
    "imp": Imp(sparsities=(0.5, 0.8), rewind="3"),
}


def carry_out(method: Method, data: Path, folder: Path) -> None:
    order = Order(
        name="new",
        objective="tokens",
        train=data / "train.conll",
        dev=data / "dev.conll",
        settings=change_settings(steps=12, checkpoint_every=2, evaluate_every=5),
        cache="off",
    )
    wanted = SparseOrder(order=order, method=method)
    for _ in train_sparse(make_base("bert"), wanted, store=Store(folder / "store")):
        pass


def main(kind: str, data: Path, folder: Path, *, least: int) -> None:
    train: Callable[[Path], None] = partial(carry_out, METHODS[kind], data)
    sys.stdout.write(json.dumps(kill_often(train, folder, least=least)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), least=int(sys.argv[4]))
