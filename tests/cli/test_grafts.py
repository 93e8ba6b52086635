from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command

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


def test_verify_names_the_damaged_graft_and_fails(polygraft: Command):
    path = Path("store/ner/1/graft.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    done = polygraft("grafts", "verify", "--json")
    found = {row["name"]: row["problem"] for row in json.loads(done.stdout)}
    assert done.exit_code == 1
    assert (found["qu"], found["topic"]) == (None, None)
    assert "sha256" in found["ner"]
    assert done.stderr == (
        "error: 1 of 3 grafts in store are damaged. All were expected to be whole. Put them in again, or remove them "
        "with `polygraft grafts remove`.\n"
    )


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
