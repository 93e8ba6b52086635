"""The report in a real browser: nothing is asked for, nothing is complained about, tables sort."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.report.chromium import Chromium, find_chromium
from tests.report.sample import make_summary
from tests.report.study import make_study

from polygraft.report.joining import Run
from polygraft.report.page import write_joined, write_report

PROGRAM = find_chromium()
FIRST_COLUMN = (
    "[...document.querySelectorAll('#transfer-0 tbody tr')].map(row => row.cells[0].firstChild.data)"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="No chromium was found on the path."),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_summary(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_study(), tmp_path_factory.mktemp("study") / "report.html")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [
        Run(label="study", summary=make_study(("full", "madx", "lora"))),
        Run(label="a run with a rather long name", summary=make_study(("full", "madx", "ia3"))),
    ]
    return write_joined(runs, tmp_path_factory.mktemp("joined") / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(PROGRAM or "", folder=tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_page_loads_without_a_complaint_or_a_request(browser: Chromium, report: Path):
    browser.open(report)
    methods = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
    assert [event for event in browser.events if event["method"] in methods] == []
    sent = [
        e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"
    ]
    assert sent == [report.as_uri()]
    assert browser.evaluate("document.styleSheets[0].cssRules.length") > 100


def test_a_click_on_a_head_sorts_the_table_and_a_second_turns_it_round(browser: Chromium, report: Path):
    browser.open(report)
    assert browser.evaluate(FIRST_COLUMN) == ["English", "Quechua", "Hausa", "Swahili", "Yoruba"]
    head = "#transfer-0 thead th:nth-child(4)"
    browser.click(f"{head} button")
    assert browser.evaluate(FIRST_COLUMN) == ["English", "Swahili", "Hausa", "Quechua", "Yoruba"]
    assert browser.evaluate(f"document.querySelector('{head}').getAttribute('aria-sort')") == "descending"
    browser.click(f"{head} button")
    assert browser.evaluate(FIRST_COLUMN) == ["Yoruba", "Quechua", "Hausa", "Swahili", "English"]
    browser.click("#transfer-0 thead th:nth-child(5) button")
    assert browser.evaluate(FIRST_COLUMN) == ["Hausa", "Swahili", "Yoruba", "Quechua", "English"]


def test_a_column_of_words_is_sorted_from_a_to_z(browser: Chromium, report: Path):
    browser.open(report)
    browser.click("#transfer-0 thead th:nth-child(1) button")
    assert browser.evaluate(FIRST_COLUMN) == ["English", "Hausa", "Quechua", "Swahili", "Yoruba"]


@pytest.mark.parametrize("width", [360, 390, 800, 1000])
def test_the_page_is_never_wider_than_the_window(browser: Chromium, report: Path, width: int):
    browser.open(report, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_each_plot_is_shown_once_at_every_width(browser: Chromium, report: Path):
    shown = "[...document.querySelectorAll('svg.dots')].filter(item => item.getClientRects().length).length"
    for width in (390, 1000):
        browser.open(report, width=width)
        assert browser.evaluate(shown) == 1


CONTRAST = """
(() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (item) => {
    for (let at = item; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
  };
  const items = document.querySelectorAll(
    "p, li, a, td, th, small, dt, dd, code, .entity, .entity b, .entity i"
  );
  const ratios = [...items].map((item) => {
    const [a, b] = [light(getComputedStyle(item).color), light(behind(item))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return Math.min(...ratios);
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(browser: Chromium, report: Path, dark: bool):
    browser.open(report, dark=dark)
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(253, 252, 249)")
    assert browser.evaluate(CONTRAST) >= 4.5


def test_rows_of_conditions_stay_under_their_method_when_a_table_is_sorted(browser: Chromium, study: Path):
    browser.open(study)
    browser.click("#methods-0 thead th:nth-child(2) button")
    names = browser.evaluate(
        "[...document.querySelectorAll('#methods-0 tbody tr')].map(row => row.cells[0].firstChild.data)"
    )
    places = [names.index(name) for name in ("lt-sft", "lora", "madx", "bottleneck", "full", "head")]
    assert places == sorted(places)
    for method in ("madx", "lt-sft"):
        at = names.index(method)
        assert names[at + 1 : at + 4] == ["none", "source", "target"]


@pytest.mark.parametrize("width", [360, 390, 1000])
def test_a_page_of_methods_is_never_wider_than_the_window(
    browser: Chromium, study: Path, joined: Path, width: int
):
    for page in (study, joined):
        browser.open(page, width=width)
        browser.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_of_a_page_of_methods_stands_out(browser: Chromium, study: Path, dark: bool):
    browser.open(study, dark=dark)
    assert browser.evaluate(CONTRAST) >= 4.5


NAMES = """
[...document.querySelectorAll("svg.pareto")].filter((svg) => svg.getClientRects().length).map((svg) => {
  const box = (item) => item.getBoundingClientRect().toJSON();
  return [box(svg), [...svg.querySelectorAll("text.label")].map(box), [...svg.querySelectorAll(".marker")].map(box)];
})
"""


@pytest.mark.parametrize("width", [390, 1000])
def test_names_in_the_plot_of_score_against_bytes_hide_nothing(browser: Chromium, study: Path, width: int):
    browser.open(study, width=width)
    plots = browser.evaluate(NAMES)
    assert len(plots) == 3

    def meet(one: dict[str, float], two: dict[str, float]) -> bool:
        # A line of text is taller than its letters.
        return (
            one["left"] < two["right"]
            and two["left"] < one["right"]
            and one["top"] + 3 < two["bottom"] - 3
            and two["top"] + 3 < one["bottom"] - 3
        )

    for svg, names, markers in plots:
        assert len(names) == len(markers) == 8
        for number, name in enumerate(names):
            assert svg["left"] - 1 <= name["left"]
            assert name["right"] <= svg["right"] + 1
            assert not any(meet(name, other) for other in names[number + 1 :])
            assert not any(meet(name, marker) for marker in markers)


VALUES = """
(() => {
  const read = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (parts) => {
    const shares = parts.map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * shares[0] + 0.7152 * shares[1] + 0.0722 * shares[2];
  };
  const ratios = [...document.querySelectorAll("svg.heat g")].filter((g) => g.querySelector("rect.cell")).map((g) => {
    const [cell, colour] = [...g.querySelectorAll("rect")].map((rect) => read(getComputedStyle(rect).fill).slice(0, 3));
    const share = Number(g.querySelectorAll("rect")[1].getAttribute("fill-opacity"));
    const behind = cell.map((part, place) => part * (1 - share) + colour[place] * share);
    const text = read(getComputedStyle(g.querySelector("text")).fill).slice(0, 3);
    const [a, b] = [light(text), light(behind)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
  return [ratios.length, Math.min(...ratios)];
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_numbers_stand_out_from_the_cells_of_heat_maps(browser: Chromium, study: Path, dark: bool):
    browser.open(study, dark=dark)
    count, least = browser.evaluate(VALUES)
    assert count > 100
    assert least >= 4.5
