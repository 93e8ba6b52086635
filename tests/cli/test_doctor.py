from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from tests.cli.conftest import Command


def test_doctor_says_what_is_attached_where(polygraft: Command):
    found = json.loads(polygraft("doctor", "--plan", "stack(qu, ner)", "--json").stdout)
    assert found["places"] == [
        {"layer": None, "place": "embeddings", "grafts": ["qu invertible"]},
        *(
            {"layer": layer, "place": "feed-forward", "grafts": ["qu bottleneck", "ner bottleneck"]}
            for layer in range(3)
        ),
        {"layer": None, "place": "head for tokens, after all layers", "grafts": ["ner head"]},
    ]
    assert [graft["num_training"] for graft in found["grafts"]] == [0, 0]
    assert found["versions"]["torch"] == version("torch")


def test_every_check_of_a_sound_plan_is_good(polygraft: Command):
    found = json.loads(polygraft("doctor", "--plan", "stack(qu, ner)", "--json").stdout)
    assert {check["name"]: check["is_good"] for check in found["checks"]} == dict.fromkeys(
        (
            "the pass comes by every place",
            "the outputs are numbers",
            "the grafts change the outputs",
            "the base is frozen",
            "removing it restores every weight",
            "removing it restores names and classes",
            "removing it takes every hook off",
            "outputs are what they were",
        ),
        True,
    )


def test_the_tables_name_every_place(polygraft: Command):
    done = polygraft("doctor", "--plan", "stack(qu, ner)")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines() if "bottleneck, ner" in line] == [
        [str(layer), "feed-forward", "qu", "bottleneck,", "ner", "bottleneck"] for layer in range(3)
    ]


def test_a_check_that_fails_ends_with_an_error(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    from polygraft.attach.attach import Attachment

    remove = Attachment.remove

    def remove_and_leave_a_trace(attachment: Attachment) -> None:
        remove(attachment)
        if attachment.plan is not None:
            attachment.base.sites.word_embeddings.weight.data.add_(1)

    monkeypatch.setattr(Attachment, "remove", remove_and_leave_a_trace)
    done = polygraft("doctor", "--plan", "ner")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: 2 of 8 checks failed: removing it restores every weight, outputs are what they were. All were expected "
        "to be good. Do not use this plan, and report what is printed above.\n"
    )


def test_without_a_plan_doctor_describes_the_base(polygraft: Command):
    done = polygraft("doctor")
    assert done.exit_code == 0
    assert done.stderr == (
        "No plan was given: --plan 'stack(qu, ner)' shows what it attaches where, and checks it.\n"
    )
