"""The report in a real browser: nothing is asked for, nothing is complained about, tables sort."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.report.chromium import Chromium, find_chromium
from tests.report.sample import make_summary

from polygraft.report.page import write_report

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
