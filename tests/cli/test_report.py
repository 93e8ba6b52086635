from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.report.sample import make_summary
from tests.report.study import make_study

from polygraft.report.joining import Run
from polygraft.report.page import render_joined
from polygraft.report.summary import RunSummary, summary_to_json

FIRST = make_study(("full", "lora"))
OTHER = dataclasses.replace(make_study(("lora", "ia3")), name="others")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(summary: RunSummary, folder: str) -> str:
    path = Path(folder)
    path.mkdir(parents=True)
    (path / "results.json").write_text(summary_to_json(summary), encoding="utf-8")
    return folder


def test_one_run_is_written_into_its_folder(polygraft: Command):
    done = polygraft("report", save(FIRST, "runs/a"))
    assert done.stdout == "runs/a/report.html\n"
    assert "<h1>eight-ways</h1>" in Path("runs/a/report.html").read_text(encoding="utf-8")


def test_several_runs_go_on_one_page_under_their_names(polygraft: Command):
    done = polygraft("report", save(FIRST, "runs/a"), save(OTHER, "runs/b"), "--out", "both.html")
    assert done.stdout == "both.html\n"
    runs = (Run(label="eight-ways", summary=FIRST), Run(label="others", summary=OTHER))
    assert Path("both.html").read_text(encoding="utf-8") == render_joined(runs)


def test_runs_of_one_name_are_called_by_their_folders(polygraft: Command):
    again = dataclasses.replace(OTHER, name=FIRST.name)
    polygraft("report", save(FIRST, "runs/a"), save(again, "runs/b"), "--out", "both.html")
    text = Path("both.html").read_text(encoding="utf-8")
    assert "<h1>runs/a and runs/b</h1>" in text
    assert "runs/b: lora" in text


def test_json_has_the_scores_side_by_side(polygraft: Command):
    done = polygraft("report", save(FIRST, "runs/a"), save(OTHER, "runs/b"), "--out", "both.html", "--json")
    found = json.loads(done.stdout)
    assert (found["report"], found["runs"], found["differences"], found["joined"]) == (
        "both.html",
        ["eight-ways", "others"],
        [],
        [],
    )
    ner = found["methods"][0]
    assert [row["method"] for row in ner["rows"]] == ["full", "eight-ways: lora", "others: lora", "ia3"]
    assert ner["rows"][0]["cost"]["num_served"] == 11
    [full, lora] = found["forgetting"]["eight-ways"]
    assert (full["method"], lora["is_same"]) == ("full", True)


def test_several_runs_need_a_place(polygraft: Command):
    done = polygraft("report", save(FIRST, "runs/a"), save(OTHER, "runs/b"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: 2 runs are to go on one page, and nothing says where. Expected a file. Give it with --out.\n"
    )


def test_a_run_that_is_given_twice_is_refused(polygraft: Command):
    done = polygraft("report", save(FIRST, "runs/a"), "runs/a", "--out", "both.html")
    assert done.exit_code == 1
    assert done.stderr == "error: The run runs/a is given twice. Expected each once. Leave one out.\n"


def test_a_folder_without_results_is_named(polygraft: Command):
    Path("empty").mkdir()
    done = polygraft("report", save(FIRST, "runs/a"), "empty", "--out", "both.html")
    assert done.stderr == (
        "error: The folder empty has no results.json. The folder of a finished run was expected. `polygraft run` says "
        "at its end where that is.\n"
    )


def test_a_run_that_compares_nothing_can_stand_beside_one_that_does(polygraft: Command):
    polygraft("report", save(FIRST, "runs/a"), save(make_summary(), "runs/plain"), "--out", "both.html")
    text = Path("both.html").read_text(encoding="utf-8")
    assert "Transfer: ner-en-to-four</h2>" in text
