"""What `polygraft grafts verify` finds besides files that were changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Command
from torch import Tensor

from polygraft.store.manifest import BaseRecord
from polygraft.store.store import Store

UP = "bottleneck.layers.0.ffn.up.bias"


def put_again(change: Callable[[dict[str, Tensor]], object], *, base: BaseRecord | None = None) -> None:
    """Put `ner` in as `odd` with other tensors, which its manifest vouches for."""
    manifest, tensors = Store("store").get("ner")
    change(tensors)
    Store("store").put(replace(manifest, name="odd", base=base or manifest.base), tensors)


AGAIN = "Train or import the graft again, or remove it with `polygraft grafts remove odd --version 1`."
WHERE = f"That was version 1 of the graft 'odd', store/odd/1/graft.safetensors. {AGAIN}"


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors[UP]


def add(tensors: dict[str, Tensor]) -> None:
    tensors["zz.weight"] = torch.zeros(1)


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors[UP] = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            drop,
            f"The graft 'odd' lacks the tensor '{UP}' (1 missing in all, of NUM). All tensors of its parts were "
            "expected.",
        ),
        (
            add,
            "The graft 'odd' has a tensor 'zz.weight' that its parts do not know (1 such in all). Its parts have NUM "
            "tensors, and no others were expected.",
        ),
        (
            reshape,
            f"The tensor '{UP}' of the graft 'odd' has the shape [2, 3] where [16] was expected.",
        ),
    ],
)
def test_tensors_that_are_not_those_of_the_parts_are_found(
    polygraft: Command, change: Callable[[dict[str, Tensor]], None], problem: str
):
    num, (width,) = len(Store("store").get("ner")[1]), Store("store").get("ner")[1][UP].shape
    put_again(change)
    done = polygraft("grafts", "verify", "--json")
    found = {row["name"]: row["problem"] for row in json.loads(done.stdout)}
    wanted = problem.replace("NUM", str(num)).replace("[16]", f"[{width}]")
    assert found == {"ner": None, "qu": None, "topic": None, "odd": f"{wanted} {WHERE}"}
    assert done.exit_code == 1


def test_without_the_base_tensors_of_no_part_are_found(polygraft: Command):
    put_again(add, base=BaseRecord(name="far/away", fingerprint="9f31c2aa55", revision=None))
    done = polygraft("grafts", "verify", "odd", "--json")
    (found,) = json.loads(done.stdout)
    assert found["problem"] == (
        "The graft 'odd' has a tensor 'zz.weight' that is of none of its parts, bottleneck, head. No such tensor was "
        f"expected. That was store/odd/1/graft.safetensors. {AGAIN}"
    )
    assert done.exit_code == 1


@pytest.mark.parametrize("name", ["far/away", "other"])
def test_without_the_base_a_whole_graft_is_whole(polygraft: Command, name: str):
    put_again(dict, base=BaseRecord(name=name, fingerprint="9f31c2aa55", revision=None))
    assert polygraft("grafts", "verify").exit_code == 0


def test_a_base_that_cannot_be_loaded_is_told(polygraft: Command):
    Path("base/config.json").unlink()
    done = polygraft("grafts", "verify")
    assert done.exit_code == 0
    assert done.stderr.startswith(
        "The tensors of the grafts of 'base' are not compared with it: The base 'base' "
    )


def test_a_name_that_means_a_version_that_is_not_there_is_found(polygraft: Command):
    Path("store/ner/latest").write_text("7\n", encoding="utf-8")
    done = polygraft("grafts", "verify", "ner", "--json")
    assert json.loads(done.stdout) == [
        {"name": "ner", "version": 1, "problem": None},
        {
            "name": "ner",
            "version": None,
            "problem": "store/ner/latest holds '7', where one of the versions 1 was expected. The file was changed "
            "after it was written. Ask for a version by its number, or remove the file to use the newest.",
        },
    ]
    assert done.exit_code == 1
