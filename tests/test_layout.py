"""The architecture rules that no linter has. ARCHITECTURE.md says why each is there."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.source_tree import SourceTree, assert_refused, calls, defined_names, nodes, own_imports, tree_of

# Lowest first. A folder imports only from rows above its own, and from itself.
ARROW: list[set[str]] = [
    {"errors", "lazy", "types"},
    {"settings"},
    {"base", "parts", "prune", "store", "data"},
    {"attach"},
    {"train", "evaluate", "interop"},
    {"report", "launch"},
    {"recipe"},
    {"server"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(ARROW) for name in names}
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "core", "manager", "mixin", "mixins"}
MAX_LINES = 400
MAX_STATEMENTS = 40
# Each entry has its reason beside it.
MAY_USE_GETATTR = {
    "errors.py",  # __notes__ exists only on an exception that was given a note.
}
MAY_SET_GETATTR = {
    "__init__.py",  # `__getattr__ = make_lazy(...)` loads the public names on first use (PEP 562).
}
LONG_FUNCTIONS: set[str] = set()


def test_every_file_and_folder_has_a_place_in_the_arrow(tree: SourceTree):
    entries = {tree.layer_of(file) for file in tree.files()} - {"__init__"}
    assert sorted(entries - RANK.keys()) == []


def test_no_file_imports_from_the_right_of_the_arrow(tree: SourceTree):
    wrong = []
    for file in tree.sources():
        rank, layer = RANK[tree.layer_of(file)], tree.layer_of(file)
        for found in own_imports(file):
            target = found.module.split(".")[1] if "." in found.module else ""
            if target in RANK and target != layer and RANK[target] >= rank and layer not in ARROW[0]:
                wrong.append(f"{tree.where(file, found.line)}: {layer} imports {found.module}")
    assert wrong == []


def test_a_name_is_imported_from_the_file_that_defines_it(tree: SourceTree):
    wrong = []
    for file in tree.files():
        for found in own_imports(file):
            target = tree.file_of(found.module)
            if target is None or target.name == "__init__.py" or found.name is None:
                wrong.append(
                    f"{tree.where(file, found.line)}: {found.module} is not a file with a name taken out of it"
                )
            elif found.name not in defined_names(target):
                wrong.append(f"{tree.where(file, found.line)}: {found.module} does not define {found.name}")
    assert wrong == []


def test_nothing_is_defined_in_an_init_file(tree: SourceTree):
    wrong = []
    for file in tree.files():
        if file.name != "__init__.py" or file.parent == tree.package:
            continue
        body = tree_of(file).body
        rest = body[1:] if body and ast.get_docstring(tree_of(file)) is not None else body
        wrong += [tree.where(file, node.lineno) for node in rest]
    assert wrong == []


def test_the_first_init_file_only_offers_names(tree: SourceTree):
    allowed = (ast.Import, ast.ImportFrom, ast.If, ast.Assign, ast.Expr)
    body = tree_of(tree.package / "__init__.py").body
    assert [
        tree.where(tree.package / "__init__.py", node.lineno)
        for node in body
        if not isinstance(node, allowed)
    ] == []
    assigned = [ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)]
    assert assigned == ["__all__", "__getattr__"]


def test_every_folder_with_code_is_a_package(tree: SourceTree):
    folders = {file.parent for file in tree.files()}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").is_file()) == []


def test_no_file_name_says_nothing(tree: SourceTree):
    names = [*tree.files(), *(tree.root / "tests").rglob("*.py")]
    assert [str(file) for file in names if file.stem in SAYS_NOTHING or file.stem.endswith("_mixin")] == []
    assert [str(file) for file in tree.files() if file.stem.startswith("base_")] == []


def test_no_file_asks_an_object_what_it_has(tree: SourceTree):
    wrong = []
    for file in tree.files():
        if str(file.relative_to(tree.package)) in MAY_USE_GETATTR:
            continue
        for name, call in calls(file):
            is_bare = isinstance(call.func, ast.Name)
            if is_bare and (name == "hasattr" or (name == "getattr" and len(call.args) > 2)):
                wrong.append(f"{tree.where(file, call.lineno)}: {name}")
    assert wrong == []


def test_no_class_changes_what_attributes_or_classes_mean(tree: SourceTree):
    special = {"__getattr__", "__getattribute__", "__setattr__"}
    wrong = []
    for file in tree.files():
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef) and node.name in special:
                wrong.append(f"{tree.where(file, node.lineno)}: {node.name}")
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                is_listed = name == "__getattr__" and str(file.relative_to(tree.package)) in MAY_SET_GETATTR
                if name in {*special, "__class__"} and not is_listed:
                    wrong.append(f"{tree.where(file, node.lineno)}: assigns {name}")
    assert wrong == []


def test_no_file_is_longer_than_400_lines(tree: SourceTree):
    lengths = {
        str(file.relative_to(tree.root)): len(file.read_text(encoding="utf-8").splitlines())
        for file in [*tree.files(), *tree.beside()]
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_function_has_more_than_40_statements(tree: SourceTree):
    wrong = {}
    for file in [*tree.files(), *tree.beside()]:
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                num_statements = (
                    sum(isinstance(child, ast.stmt) for child in ast.walk(node)) - 1 - has_docstring
                )
                name = f"{file.relative_to(tree.root)}:{node.name}"
                if num_statements > MAX_STATEMENTS and name not in LONG_FUNCTIONS:
                    wrong[name] = num_statements
    assert wrong == {}


def test_every_part_has_a_test_file_and_a_page_of_its_name(tree: SourceTree):
    table = tree.package / "parts" / "table.py"
    if not table.is_file():
        pytest.skip("There is no table of parts yet.")
    names = {
        found.module.split(".")[-1]
        for found in own_imports(table)
        if found.module.startswith("polygraft.parts.")
    }
    parts = sorted(names - {"part"})
    assert parts != []
    assert [name for name in parts if not (tree.root / "tests" / "parts" / f"test_{name}.py").is_file()] == []
    assert [name for name in parts if not (tree.root / "docs" / "parts" / f"{name}.md").is_file()] == []


@pytest.mark.parametrize(
    ("rule", "name", "code"),
    [
        (test_every_file_and_folder_has_a_place_in_the_arrow, "extras/new.py", ""),
        (test_no_file_imports_from_the_right_of_the_arrow, "store/a.py", "from polygraft.attach.b import c"),
        (
            test_no_file_imports_from_the_right_of_the_arrow,
            "store/a.py",
            "def f():\n    import polygraft.parts.b",
        ),
        (
            test_a_name_is_imported_from_the_file_that_defines_it,
            "store/a.py",
            "from polygraft.store import b",
        ),
        (
            test_a_name_is_imported_from_the_file_that_defines_it,
            "store/a.py",
            "from polygraft.errors import os",
        ),
        (test_nothing_is_defined_in_an_init_file, "store/__init__.py", "X = 1"),
        (test_every_folder_with_code_is_a_package, "store/a.py", ""),
        (test_no_file_name_says_nothing, "store/utils.py", ""),
        (test_no_file_asks_an_object_what_it_has, "store/a.py", "hasattr(1, 'x')"),
        (test_no_file_asks_an_object_what_it_has, "store/a.py", "getattr(1, 'x', None)"),
        (test_no_class_changes_what_attributes_or_classes_mean, "store/a.py", "x.__class__ = int"),
        (test_no_class_changes_what_attributes_or_classes_mean, "store/a.py", "def __getattr__(name): ..."),
        (
            test_no_class_changes_what_attributes_or_classes_mean,
            "store/__init__.py",
            "__getattr__ = make_lazy({})",
        ),
        (test_the_first_init_file_only_offers_names, "__init__.py", "def f(): ..."),
        (test_the_first_init_file_only_offers_names, "__init__.py", "X = 1"),
        (test_no_file_is_longer_than_400_lines, "store/a.py", "x = 1\n" * 401),
        (test_no_file_is_longer_than_400_lines, "tests/store/test_a.py", "x = 1\n" * 401),
        (test_no_file_is_longer_than_400_lines, "benchmarks/a.py", "x = 1\n" * 401),
        (test_no_function_has_more_than_40_statements, "store/a.py", "def f():\n" + "    x = 1\n" * 41),
        (
            test_no_function_has_more_than_40_statements,
            "tests/store/test_a.py",
            "def f():\n" + "    x = 1\n" * 41,
        ),
    ],
)
def test_a_rule_refuses_what_it_forbids(
    rule: Callable[[SourceTree], None], name: str, code: str, tmp_path: Path
):
    assert_refused(rule, name=name, code=code, root=tmp_path)
