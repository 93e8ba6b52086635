from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attacks.attack import alter, edit
from tests.cli.conftest import Command

from polygraft.parts.table import PARTS
from polygraft.store.store import Store


def test_list_gives_a_row_a_graft(polygraft: Command):
    done = polygraft("grafts", "list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if " 2026-01-31 12:00" in line] == [
        "ner",
        "qu",
        "topic",
    ]


def test_list_as_json_has_versions_and_sizes(polygraft: Command):
    Store("store").put(*Store("store").get("ner"))
    found = json.loads(polygraft("grafts", "list", "--json").stdout)
    assert [(row["name"], row["version"], row["versions"]) for row in found] == [
        ("ner", 2, [1, 2]),
        ("qu", 1, [1]),
        ("topic", 1, [1]),
    ]
    assert found[0]["num_bytes"] == Path("store/ner/2/graft.safetensors").stat().st_size


def test_an_empty_store_says_how_to_fill_it(polygraft: Command):
    done = polygraft("grafts", "list", "--store", "nowhere")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "The store nowhere is empty. `polygraft quickstart` or `polygraft run` fills one.\n"


def test_show_as_json_is_the_manifest(polygraft: Command):
    done = polygraft("grafts", "show", "ner", "--json")
    assert done.stdout == Path("store/ner/1/graft.json").read_text(encoding="utf-8")


def test_show_says_parts_labels_and_scores(polygraft: Command):
    text = polygraft("grafts", "show", "ner").stdout
    assert "ner, version 1" in text
    assert 'labels = ["O", "B-LOC", "B-PER"]' in text
    assert "0.5000" in text


def test_show_says_what_training_cost(polygraft: Command):
    manifest, tensors = Store("store").get("ner")
    cost = {
        "seconds": 71.0,
        "tokens": 90_000.0,
        "tokens_per_second": 1267.0,
        "padding": 0.071,
        "looked_up": 0.8,
        "cache_memory_bytes": 150e6,
        "cache_file_bytes": 25e6,
        "peak_memory_bytes": 2.31e9,
        "peak_memory_above_start_bytes": 640e6,
        "peak_device_memory_bytes": 7.5e9,
    }
    Store("store").put(replace(manifest, cost=cost), tensors)
    rows = [
        re.split(r"  +", line.strip(), maxsplit=1)
        for line in polygraft("grafts", "show", "ner").stdout.splitlines()
    ]
    found = {row[0]: row[1] for row in rows if len(row) == 2}
    assert found["Time"] == "1 min 11 s"
    assert found["Tokens"] == "90,000, 1,267 a second"
    assert found["Padding"] == "7.1 % of the tokens in all batches"
    assert (
        found["Looked up"] == "frozen layers of 80 % of the batches; 150 MB kept in memory, 25.0 MB in files"
    )
    assert found["Peak memory"] == "2.31 GB, 640 MB above the start"
    assert found["Peak memory of the GPU"] == "7.50 GB"
    bare = polygraft("grafts", "show", "qu").stdout
    assert "Looked up" not in bare
    assert "Peak memory" not in bare


def test_verify_names_the_damaged_graft_and_fails(polygraft: Command):
    path = Path("store/ner/1/graft.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = polygraft("grafts", "verify", "--json")
    found = {row["name"]: row["problem"] for row in json.loads(done.stdout)}
    assert done.exit_code == 1
    assert (found["qu"], found["topic"]) == (None, None)
    assert "sha256" in found["ner"]
    assert done.stderr == (
        "error: 1 of 3 grafts in store are damaged. All were expected to be whole. Train or import them again, or "
        "remove them with `polygraft grafts remove`.\n"
    )


def test_verify_finds_a_label_that_was_moved(polygraft: Command):
    alter(Path("store/ner/1"), parts=[{"kind": "head", "options": {"labels": ["B", "O"]}}])
    done = polygraft("grafts", "verify", "ner", "--json")
    (found,) = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["problem"].startswith("store/ner/1/graft.json does not match its own digest: sha256 over ")


def say_where(name: str) -> str:
    return (
        f"That was version 1 of the graft '{name}', store/{name}/1/graft.safetensors. Train or import the graft again, "
        f"or remove it with `polygraft grafts remove {name} --version 1`."
    )


def test_verify_finds_a_part_that_no_polygraft_has(polygraft: Command):
    edit(Path("store/ner/1"), parts=[{"kind": "quantum", "options": {}}])
    edit(Path("store/qu/1"), parts=[{"kind": "bottleneck", "options": {"reductoin": 2}}])
    done = polygraft("grafts", "verify", "--json")
    assert done.exit_code == 1
    assert {row["name"]: row["problem"] for row in json.loads(done.stdout)} == {
        "ner": f"There is no part 'quantum'. Known are {', '.join(PARTS)}. Correct the name. {say_where('ner')}",
        "qu": "The part 'bottleneck' has no option 'reductoin'. Its options are reduction, activation, placement, "
        "semantics, scaling, skip_layers, init. Did you mean 'reduction'? Correct the name. "
        + say_where("qu"),
        "topic": None,
    }


def test_verify_goes_on_behind_a_graft_whose_versions_cannot_be_listed(polygraft: Command):
    Path("store/ner/2").symlink_to("1")
    done = polygraft("grafts", "verify", "--json")
    assert done.exit_code == 1
    assert [(row["name"], row["version"], row["problem"] is None) for row in json.loads(done.stdout)] == [
        ("ner", None, False),
        ("qu", 1, True),
        ("topic", 1, True),
    ]


@pytest.mark.parametrize("deed", ["list", "verify"])
def test_a_file_in_place_of_the_store_is_an_error(polygraft: Command, deed: str):
    done = polygraft("grafts", deed, "--store", "text.txt")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: The store text.txt is no folder. A folder of grafts was expected. Name the folder that holds them, as "
        "with --store, or remove what is in its place.\n"
    )


def test_a_store_to_verify_must_be_there(polygraft: Command):
    done = polygraft("grafts", "verify", "--store", "nosuch")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: The store nosuch is not there. A folder of grafts was expected. Check the path, or name another with "
        "--store; `polygraft quickstart` and `polygraft run` make a store.\n"
    )


def test_a_damaged_graft_is_listed_with_its_reason_and_hides_no_other(polygraft: Command):
    Path("store/ner/1/graft.json").write_text("[]", encoding="utf-8")
    reason = (
        "store/ner/1/graft.json is not the JSON that polygraft writes: it holds a list where an object was expected. "
        "An object with unique keys, finite numbers and plain text was expected. Put the graft in again."
    )
    listed, as_json = polygraft("grafts", "list"), polygraft("grafts", "list", "--json")
    assert (listed.exit_code, as_json.exit_code) == (1, 1)
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["ner", "–", "damaged", "–", "–", "–", "–", "–"] in rows
    assert [row[0] for row in rows if "2026-01-31" in row] == ["qu", "topic"]
    assert (
        listed.stderr
        == as_json.stderr
        == (
            f"'ner' is damaged: {reason}\n"
            "error: 1 of 3 grafts in store are damaged. All were expected to be whole. Train or import them again, or "
            "remove them with `polygraft grafts remove`.\n"
        )
    )
    found = json.loads(as_json.stdout)
    assert found[0] == {"name": "ner", "error": reason}
    assert [(row["name"], row["versions"]) for row in found[1:]] == [("qu", [1]), ("topic", [1])]


def test_a_graft_whose_folder_may_not_be_read_is_listed_with_its_reason(
    polygraft: Command, monkeypatch: pytest.MonkeyPatch
):
    refuse_to_list(monkeypatch, Path("store/ner"))
    done = polygraft("grafts", "list", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found[0] == {
        "name": "ner",
        "error": "The folder store/ner cannot be read: Permission denied. A folder that may be read was expected. "
        "Change its permissions or choose another store.",
    }
    assert [row["name"] for row in found[1:]] == ["qu", "topic"]
    assert polygraft("doctor", "--plan", "qu").exit_code == 0


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the system refuse to list a folder; its permissions do not bind every user who runs the tests."""
    allowed = os.scandir

    def look(asked: Path) -> Any:
        if Path(asked) == path:
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(asked)

    monkeypatch.setattr(os, "scandir", look)


def test_remove_asks_and_does_nothing_without_a_yes(polygraft: Command):
    assert polygraft("grafts", "remove", "ner", text="n\n").exit_code == 0
    assert Store("store").names() == ["ner", "qu", "topic"]
    done = polygraft("grafts", "remove", "ner", "--yes")
    assert done.stderr == "Removed 'ner', version 1.\n"
    assert Store("store").names() == ["qu", "topic"]


def test_a_graft_travels_to_a_folder_and_back(polygraft: Command):
    assert polygraft("grafts", "push", "ner", "there").stderr == "'ner' is now at there.\n"
    done = polygraft("grafts", "pull", "there", "--name", "again")
    assert done.stderr == "'again', version 1, is now in store.\n"
    assert Store("store").manifest("again").sha256 == Store("store").manifest("ner").sha256


def test_rename_moves_a_graft(polygraft: Command):
    assert polygraft("grafts", "rename", "ner", "names").stderr == "'ner' is now 'names'.\n"
    assert Store("store").names() == ["names", "qu", "topic"]
