"""Every block of code in README.md and docs/ is run or checked."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "src" / "polygraft" / "sample"
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.is_file()
]
LANGUAGES = {"python", "toml", "console", "text", "json"}
# What a reader may be asked to type besides `polygraft` and `make`.
OTHER_COMMANDS = {"pip", "cd", "ls", "cat", "git"}
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            line = text.count("\n", 0, fence.start("body")) + 1
            found.append(Block(page, line, fence["language"], fence["body"]))
    return [block for block in found if language in {None, block.language}]


def commands() -> list[tuple[str, list[str]]]:
    """Every command of the console blocks, with where it stands and its words."""
    found: list[tuple[str, list[str]]] = []
    for block in blocks("console"):
        text = block.body.replace("\\\n", " ")
        found += [
            (str(block), shlex.split(line[2:], comments=True))
            for line in text.splitlines()
            if line.startswith("$ ")
        ]
    return found


def test_every_note_of_a_change_has_a_word_and_a_known_kind():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = "|".join(kind["directory"] for kind in options["tool"]["towncrier"]["type"])
    notes = [path.name for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    assert [name for name in notes if not re.fullmatch(rf"[a-z0-9-]+\.({kinds})\.md", name)] == []


def test_every_block_says_what_it_is():
    assert [str(block) for block in blocks() if block.language not in LANGUAGES] == []


def test_every_console_block_has_a_command():
    assert [str(block) for block in blocks("console") if not block.body.startswith("$ ")] == []


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder such as a reader would have: it holds `data/`, a copy of the samples."""
    shutil.copytree(SAMPLE, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_bundled_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_base` gives a tiny base, so that a page takes seconds."""
    tiny = import_module("tests.tiny")

    def load_tiny_base(name: str, **_: object) -> object:
        assert name == "bundled"
        return tiny.make_base("bert")

    monkeypatch.setattr("polygraft.base.load.load_base", load_tiny_base)


@pytest.mark.parametrize(
    "page", sorted({block.page for block in blocks("python")}), ids=lambda page: str(page.relative_to(ROOT))
)
@pytest.mark.usefixtures("reader_folder", "tiny_bundled_base")
def test_the_python_blocks_of_a_page_run_one_after_the_other(page: Path):
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks("python"):
        if block.page == page:
            # An error names the page and its line.
            tree = ast.increment_lineno(ast.parse(block.body, filename=str(page)), block.line - 1)
            exec(compile(tree, filename=str(page), mode="exec"), namespace)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_toml_block_is_a_recipe(block: Block):
    assert tomllib.loads(block.body) != {}


@pytest.mark.parametrize(("place", "words"), commands(), ids=[place for place, _ in commands()])
def test_a_command_on_a_page_exists(place: str, words: list[str]):
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert [word for word in arguments if "=" not in word and word not in targets] == [], place
    elif program == "polygraft":
        check_polygraft(arguments)
    else:
        assert program in OTHER_COMMANDS, place


def check_polygraft(arguments: list[str]) -> None:
    """Parse the words as the command line does, without running the command."""
    if find_spec("polygraft.cli") is None:
        pytest.skip("There is no command line yet.")
    import typer.main

    command = typer.main.get_command(import_module("polygraft.cli.app").app)
    context = command.make_context("polygraft", list(arguments))
    while vars(command).get("commands") and (words := [*vars(context)["_protected_args"], *context.args]):
        name, command, rest = command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)
