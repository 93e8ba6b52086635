from __future__ import annotations

import dataclasses
import html.parser
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.report.sample import make_graft, make_result, make_summary
from tests.report.study import make_study

from polygraft.report import page
from polygraft.report.joining import Run
from polygraft.report.page import render_joined, render_report, write_report
from polygraft.report.reader import from_plain, to_plain
from polygraft.report.summary import RunSummary

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{ 7 * 7 }}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(html.parser.HTMLParser):
    """Collects tags and ids, and checks that every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def make_hostile(value: Any) -> Any:
    """Put hostile text into every string and every key of plain JSON values."""
    if isinstance(value, str):
        return f"{value[:2]}{HOSTILE}"
    if isinstance(value, list):
        return [make_hostile(item) for item in value]
    return value


def hostile_summary() -> RunSummary:
    plain: Any = to_plain(make_summary())
    for key in ("name", "created", "recipe_text", "command", "notes"):
        plain[key] = make_hostile(plain[key])
    for row in (plain["base"], *plain["grafts"], *plain["results"], *plain["examples"]):
        for key, value in row.items():
            row[key] = make_hostile(value) if key != "curve" else value
    for row in plain["grafts"]:
        row["scores"] = {HOSTILE: 0.5}
    for row in plain["results"]:
        row["by_type"] = {HOSTILE: row["by_type"]["LOC"]}
    for row in plain["examples"]:
        row["predicted"] = {HOSTILE: row["gold"]}
    plain["versions"] = plain["machine"] = {HOSTILE: HOSTILE}
    return from_plain(plain, RunSummary, place="summary")


def test_the_page_is_well_formed_and_its_ids_are_unique():
    reader = Reader(render_report(make_summary()))
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in reader.attributes if name == "href" and value}
    labels = {
        word
        for name, value in reader.attributes
        if name == "aria-labelledby"
        for word in (value or "").split()
    }
    assert targets | labels <= set(ids)
    assert {"transfer", "learning", "cost-section", "examples", "run"} == targets


def test_hostile_text_stays_text():
    text = render_report(hostile_summary())
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags
    assert [name for name, _ in reader.attributes if name.startswith("on")] == []
    assert "<script>alert" not in text
    assert "{{ 7 * 7 }}" in text


STUDY = make_study()
JOINED = (
    Run(label="study", summary=STUDY),
    Run(label="lora again", summary=make_study(("lora", "full"))),
    Run(label="plain", summary=make_summary()),
)


@pytest.mark.parametrize("text", [render_report(STUDY), render_joined(JOINED)], ids=["one run", "several"])
def test_a_page_of_methods_is_well_formed_and_its_ids_are_unique(text: str):
    reader = Reader(text)
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in reader.attributes if name == "href" and value}
    labels = {
        word
        for name, value in reader.attributes
        if name == "aria-labelledby"
        for word in (value or "").split()
    }
    assert targets | labels <= set(ids)
    assert "methods" in targets


def test_methods_have_their_tables_plots_and_words():
    text = render_report(STUDY)
    ids = {value for name, value in Reader(text).attributes if name == "id"}
    for number in range(3):
        assert {f"methods-{number}", f"rivals-{number}", f"pareto-{number}-912-title"} <= ids
    assert {"forgotten", "matrix-1-912-title", "after-7", "transfer-0", "transfer-5", "results"} <= ids
    assert "transfer-6" not in ids
    assert "Best on average: ‘madx’ in two of three tests" in text
    assert "N = 11 pairs of a task and a test language" in text
    assert "average forgetting of 21.0 points" in text


def test_provenance_has_seeds_and_digests():
    text = render_report(STUDY)
    assert "<dt>Seeds</dt><dd>0, 1, 2</dd>" in text
    assert STUDY.results[0].predictions[:12] in text
    assert "seeds = [0, 1, 2]" in text


def test_several_runs_have_a_table_in_common_and_their_own_sections():
    text = render_joined(JOINED)
    reader = Reader(text)
    targets = [value for name, value in reader.attributes if name == "href"]
    assert targets == ["#methods", "#run-1-forgetting", "#run-2-forgetting", "#run-3-transfer"]
    assert "<h1>study and lora again and plain</h1>" in text
    assert "How it was run: lora again</h2>" in text
    assert ">lora again: lora<" in text


def test_runs_that_cannot_stand_in_one_table_say_why():
    base = dataclasses.replace(STUDY.base, fingerprint="0" * 32)
    other = Run(label="other", summary=dataclasses.replace(STUDY, base=base))
    text = render_joined((Run(label="study", summary=STUDY), other))
    assert (
        "‘other’ and ‘study’ are not in one table of ner: the base of ‘study’ is multilingual-e5-small"
        in text
    )
    assert "<h3>ner (other)</h3>" in text


def test_names_of_methods_stay_text():
    def spoil(value: Any) -> Any:
        return dataclasses.replace(value, method=f"{value.method}{HOSTILE}")

    summary = dataclasses.replace(
        STUDY,
        name=HOSTILE,
        grafts=tuple(map(spoil, STUDY.grafts)),
        results=tuple(map(spoil, STUDY.results)),
        rechecks=tuple(map(spoil, STUDY.rechecks)),
        examples=tuple(map(spoil, STUDY.examples)),
        gains=tuple(map(spoil, STUDY.gains)),
    )
    text = render_joined((Run(label=HOSTILE, summary=summary), Run(label="other", summary=STUDY)))
    reader = Reader(text)
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags
    assert "<script>alert" not in text


def test_examples_show_each_method_under_the_condition_that_it_is_known_by():
    text = render_report(STUDY)
    for title in ("Swahili, ner", "Hausa, pos", "Hausa, topic"):
        assert f"<h3>{title}</h3>" in text
    assert text.count("<dt>lt-sft<small>") == 2 + 1 + 2
    assert 'business</b><i lang="en">✗ should be politics</i>' in text


def test_the_page_asks_for_nothing_from_outside():
    reader = Reader(render_report(make_summary()))
    assert [value for name, value in reader.attributes if name in {"src", "srcset", "data", "action"}] == []
    assert [
        value for name, value in reader.attributes if name == "href" and not (value or "").startswith("#")
    ] == []
    assert [name for name, _ in reader.attributes if name == "style"] == []
    assert {"link", "iframe", "object", "base"} & set(reader.tags) == set()
    assert "url(" not in render_report(make_summary())
    assert "@import" not in render_report(make_summary())


def test_only_the_pages_own_style_and_script_may_run():
    reader = Reader(render_report(make_summary()))
    policy = next(
        value or ""
        for name, value in reader.attributes
        if name == "content" and "default-src" in (value or "")
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_equal_summaries_give_equal_bytes(tmp_path: Path):
    first = write_report(make_summary(), tmp_path / "a.html").read_bytes()
    assert write_report(make_summary(), tmp_path / "new" / "b.html").read_bytes() == first
    assert [file.name for file in sorted(tmp_path.rglob("*.*"))] == ["a.html", "b.html"]


def test_the_report_can_be_read_by_others(tmp_path: Path):
    assert stat.S_IMODE(write_report(make_summary(), tmp_path / "a.html").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.html"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr(page.os, "fsync", fail)
    with pytest.raises(OSError, match="The disk is full"):
        write_report(make_summary(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"grafts": ()}, {"learning", "cost-section"}),
        ({"results": ()}, {"transfer"}),
        ({"examples": ()}, {"examples"}),
        (
            {"grafts": (), "results": (), "examples": (), "notes": ()},
            {"learning", "cost-section", "transfer", "examples"},
        ),
    ],
)
def test_a_section_without_content_is_left_out(changes: dict[str, Any], gone: set[str]):
    reader = Reader(render_report(dataclasses.replace(make_summary(), **changes)))
    links = {value for name, value in reader.attributes if name == "href"}
    assert {"#transfer", "#learning", "#cost-section", "#examples", "#run"} - links == {
        f"#{name}" for name in gone
    }


def test_a_run_of_almost_nothing_can_be_reported():
    summary = dataclasses.replace(
        make_summary(),
        recipe_text="",
        command="",
        grafts=(
            dataclasses.replace(
                make_graft("g", role="task"), role="new", curve=({"step": 1.0, "loss": 2.0},), kinds=()
            ),
        ),
        results=(make_result("xx", "odd", score=float("nan"), half=None),),
        versions={},
        machine={},
        predicted_seconds=None,
        created="some day",
    )
    text = render_report(summary)
    Reader(text)
    assert "not a number" in text
    assert "No F1 of ner is a number." in text
    assert "polygraft report · some day" in text


def test_half_a_letter_does_not_stop_the_report(tmp_path: Path):
    summary = dataclasses.replace(make_summary(), recipe_text="\ud800")
    assert b'<pre tabindex="0">?</pre>' in write_report(summary, tmp_path / "a.html").read_bytes()


def test_the_page_says_what_costs_mean():
    text = render_report(make_summary())
    assert "Padding: its share of the tokens in all batches." in text
    assert "175 MB kept" in text
