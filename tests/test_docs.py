"""Every block of code in README.md and docs/ is run or checked."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
import shutil
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest

import polygraft
from polygraft.recipe.data import LanguageData, TaskData
from polygraft.recipe.kinds import KINDS
from polygraft.recipe.read import load_recipe
from polygraft.recipe.schema import Recipe
from polygraft.recipe.train_tables import TrainTables
from polygraft.recipe.variants import MethodTable

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "src" / "polygraft" / "sample"
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.is_file()
]
LANGUAGES = {"python", "toml", "console", "text", "json"}
# What a reader may be asked to type besides `polygraft` and `make`.
OTHER_COMMANDS = {"pip", "cd", "ls", "cat", "git", "accelerate", "torchrun", "tensorboard"}
# What a block that shows a part of a recipe leaves out; the reader's folder has these files.
REST_OF_A_RECIPE = """
[data]
root = "data"
[language.en]
text = "text/en.txt"
[language.qu]
text = "text/qu.txt"
"""
KNOWN_FOLDERS = {"tests", "docs", "examples", "benchmarks", "attacks", "changes"}
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
    """A folder such as a reader would have: `data/`, a copy of the samples, and the recipe of the README."""
    shutil.copytree(SAMPLE, tmp_path / "data")
    for place in ("en/train", "en/dev", "en/test", "qu/test"):
        path = tmp_path / "data" / "topic" / f"{place}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("sports\tThe match ended late.\n", encoding="utf-8")
    shutil.copytree(tmp_path / "data" / "ner" / "en", tmp_path / "data" / "pos" / "en")
    for name in ("train", "dev"):
        folder = tmp_path / "data" / "ner"
        shutil.copy(folder / "en" / f"{name}.conll", folder / "qu" / f"{name}.conll")
    for name in ("train", "dev", "test"):
        row = '{"tokens": ["Late"], "upos": ["ADV"]}\n'
        (tmp_path / "data" / "pos" / "en" / f"{name}.jsonl").write_text(row, encoding="utf-8")
    own = next(block for block in blocks("toml") if block.page.name == "README.md")
    (tmp_path / "recipe.toml").write_text(own.body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_bundled_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_base` gives a tiny base that has no masked-LM head either, so that a page takes seconds."""
    tiny = import_module("tests.tiny")

    def load_tiny_base(name: str, **_: object) -> object:
        assert name == "bundled"
        return tiny.make_base("bert", with_head=False)

    monkeypatch.setattr("polygraft.base.load.load_base", load_tiny_base)
    monkeypatch.setattr("polygraft.recipe.run.load_base", load_tiny_base)


@pytest.fixture
def quickstart_folder(reader_folder: Path, tiny_bundled_base: None) -> Path:
    """What the quickstart leaves behind, made by its own recipe with fewer steps."""
    del tiny_bundled_base
    folder = reader_folder / "polygraft-quickstart"
    changes = {"store": f"'{folder / 'store'}'", "runs": f"'{folder / 'runs'}'"}
    changes |= {"train.mlm.steps": "2", "train.language.steps": "2"}
    changes |= {"train.task.epochs": "1", "train.task.batch_tokens": "4096"}
    recipe = load_recipe(
        SAMPLE / "quickstart.toml", settings=[f"{key}={value}" for key, value in changes.items()]
    )
    for _ in import_module("polygraft.recipe.run").run_recipe(recipe, only=["mlm", "language", "task"]):
        pass
    return folder


@pytest.mark.parametrize(
    "page", sorted({block.page for block in blocks("python")}), ids=lambda page: str(page.relative_to(ROOT))
)
@pytest.mark.usefixtures("reader_folder", "tiny_bundled_base")
def test_the_python_blocks_of_a_page_run_one_after_the_other(page: Path, request: pytest.FixtureRequest):
    if "polygraft-quickstart" in page.read_text(encoding="utf-8"):
        request.getfixturevalue("quickstart_folder")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks("python"):
        if block.page == page:
            # An error names the page and its line.
            tree = ast.increment_lineno(ast.parse(block.body, filename=str(page)), block.line - 1)
            exec(compile(tree, filename=str(page), mode="exec"), namespace)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_toml_block_is_a_recipe(block: Block, reader_folder: Path):
    is_whole = "language" in tomllib.loads(block.body)
    path = reader_folder / "page.toml"
    path.write_text(block.body if is_whole else block.body + REST_OF_A_RECIPE, encoding="utf-8")
    assert set(load_recipe(path).languages) == {"en", "qu"}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda path: path.name)
def test_an_example_is_a_recipe(path: Path, tmp_path: Path):
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    tasks = document.get("task", {}).values()
    names = [language["text"] for language in document.get("language", {}).values()]
    names += [name for task in tasks for name in (task["train"], task["dev"], *task["test"].values())]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    recipe = load_recipe(path, lookup=lambda variable: str(tmp_path))
    assert set(recipe.tasks) == set(document["task"])


def keys_on_the_page(heading: str) -> dict[str, tuple[str, str]]:
    """Read a table of docs/recipes.md: the default and the meaning of each key."""
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    return {key: (default, meaning) for key, default, meaning in rows}


def write_default(field: dataclasses.Field[Any]) -> str:
    match field.default:
        case dataclasses.MISSING:
            return "needed" if field.default_factory is dataclasses.MISSING else "`{}`"
        case None:
            return "none"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case int() | float() as value:
            return f"`{value:g}`"
        case tuple():
            return "`[]`"
        case value:
            return f'`"{value}"`'


TABLES = {name: kind for name, kind in get_type_hints(TrainTables).items() if dataclasses.is_dataclass(kind)}
SECTIONS: dict[str, type] = {
    "`[language.xx]`": LanguageData,
    "`[task.name]`": TaskData,
    "`[method.name]`": MethodTable,
    **{f"`[train.{name}]`": kind for name, kind in TABLES.items()},
}


@pytest.mark.parametrize(("heading", "kind"), SECTIONS.items(), ids=SECTIONS)
def test_the_page_of_recipes_tells_every_key_with_its_default(heading: str, kind: type):
    found = keys_on_the_page(heading)
    fields = dataclasses.fields(kind)
    expected = {field.name: write_default(field) for field in fields}
    assert {key: default for key, (default, _) in found.items()} == expected
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            assert [choice for choice in get_args(hint) if f'`"{choice}"`' not in found[name][1]] == [], name


def test_the_page_of_recipes_tells_every_key_of_training_as_a_whole():
    fields = [field for field in dataclasses.fields(TrainTables) if field.name not in TABLES]
    found = keys_on_the_page("`[train]`")
    assert {key: default for key, (default, _) in found.items()} == {
        field.name: write_default(field) for field in fields
    }


def test_the_page_of_recipes_tells_every_key_at_the_top():
    tables = {"languages", "tasks", "train", "text", "method", "variant"}
    fields = [field for field in dataclasses.fields(Recipe) if field.name not in tables]
    expected = {field.name: write_default(field) for field in fields} | {"name": "the file's name"}
    found = keys_on_the_page("Top of the file")
    assert {key: default for key, (default, _) in found.items()} == expected


def test_the_page_of_methods_tells_every_method_and_what_it_sets():
    page = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .+? \| (yes)? ?\| (.*?) ?\|$", page, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(KINDS)
    for name, over, told in rows:
        assert bool(over) == KINDS[name].is_over, name
        for key in ("method", "part"):
            if key in KINDS[name].task:
                assert f'`{key} = "{KINDS[name].task[key]}"`' in told, name


def test_the_file_map_of_the_readme_names_every_folder_and_no_other():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w./-]+)/` \|", text, re.MULTILINE))
    assert [name for name in sorted(named) if not (ROOT / name).is_dir()] == []
    top = {path.name for path in ROOT.iterdir() if path.name in KNOWN_FOLDERS}
    package = {
        f"src/polygraft/{path.name}" for path in (ROOT / "src" / "polygraft").iterdir() if path.is_dir()
    }
    assert sorted((top | package) - named - {"src/polygraft/__pycache__"}) == []


def test_the_page_on_python_names_every_public_name():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in polygraft.__all__ if not re.search(rf"\b{name}\b", page)] == []


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
