"""The architecture rules that no linter has. ARCHITECTURE.md says why each is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
PACKAGE = SRC / "polygraft"

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
HEAVY = {"torch", "transformers"}
MAX_LINES = 400
MAX_STATEMENTS = 40
HOOKS = {
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_parametrization",
}
WRITES = {"write_text", "write_bytes", "mkdir", "unlink", "rmdir", "rmtree", "touch", "symlink_to"}
MAY_WRITE = {
    "store",
    "data",
    "interop",
    "report",
    "recipe",
    "base/compact.py",  # Writes a base without its pruned units, for other programs as well.
    "train/checkpoint.py",
    "train/spill.py",
    "train/memory.py",  # Tells the system to begin its record of the largest size anew.
}

# Each entry has its reason beside it.
MAY_USE_GETATTR = {
    "errors.py",  # __notes__ exists only on an exception that was given a note.
}
MAY_SET_GETATTR = {
    "__init__.py",  # `__getattr__ = make_lazy(...)` loads the public names on first use (PEP 562).
}
LONG_FUNCTIONS: set[str] = set()


class Import(NamedTuple):
    """One imported name: `from module import name`, or `import module` with name None."""

    module: str
    name: str | None
    line: int
    at_module_level: bool


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def sources() -> list[Path]:
    return [file for file in files() if file.name != "__init__.py"]


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def where(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


def nodes(file: Path) -> Iterator[ast.AST]:
    return ast.walk(tree_of(file))


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the last word of what is called."""
    for node in nodes(file):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name, node
                case _:
                    pass


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def runs_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing a file runs: also inside if, try and with, never inside functions."""
    for node in body:
        if is_for_types_only(node) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from runs_on_import(
                [child for child in vars(node).get(field, []) if isinstance(child, ast.stmt)]
            )
        for handler in vars(node).get("handlers", []):
            yield from runs_on_import(handler.body)


def imports(file: Path) -> Iterator[Import]:
    on_import = {id(node) for node in runs_on_import(tree_of(file).body)}
    for node in nodes(file):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, id(node) in on_import)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(node.module or "", alias.name, node.lineno, id(node) in on_import)


def own_imports(file: Path) -> Iterator[Import]:
    return (found for found in imports(file) if found.module.split(".")[0] == "polygraft")


def file_of(module: str) -> Path | None:
    """The file that holds a module of polygraft, its __init__.py when it is a package."""
    path = SRC.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def defined_names(file: Path) -> set[str]:
    names: set[str] = set()
    for node in runs_on_import(tree_of(file).body):
        if isinstance(node, ast.Assign):
            names |= {
                name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    for node in nodes(file):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.TypeAlias if sys.version_info >= (3, 12) else ()):
            names.add(node.name.id)
    return names


def test_every_file_and_folder_has_a_place_in_the_arrow():
    entries = {layer_of(file) for file in files()} - {"__init__"}
    assert sorted(entries - RANK.keys()) == []


def test_no_file_imports_from_the_right_of_the_arrow():
    wrong = []
    for file in sources():
        rank, layer = RANK[layer_of(file)], layer_of(file)
        for found in own_imports(file):
            target = found.module.split(".")[1] if "." in found.module else ""
            if target in RANK and target != layer and RANK[target] >= rank and layer not in ARROW[0]:
                wrong.append(f"{where(file, found.line)}: {layer} imports {found.module}")
    assert wrong == []


def test_a_name_is_imported_from_the_file_that_defines_it():
    wrong = []
    for file in files():
        for found in own_imports(file):
            target = file_of(found.module)
            if target is None or target.name == "__init__.py" or found.name is None:
                wrong.append(
                    f"{where(file, found.line)}: {found.module} is not a file with a name taken out of it"
                )
            elif found.name not in defined_names(target):
                wrong.append(f"{where(file, found.line)}: {found.module} does not define {found.name}")
    assert wrong == []


def test_nothing_is_defined_in_an_init_file():
    wrong = []
    for file in files():
        if file.name != "__init__.py" or file.parent == PACKAGE:
            continue
        body = tree_of(file).body
        rest = body[1:] if body and ast.get_docstring(tree_of(file)) is not None else body
        wrong += [where(file, node.lineno) for node in rest]
    assert wrong == []


def test_the_first_init_file_only_offers_names():
    allowed = (ast.Import, ast.ImportFrom, ast.If, ast.Assign, ast.Expr)
    body = tree_of(PACKAGE / "__init__.py").body
    assert [
        where(PACKAGE / "__init__.py", node.lineno) for node in body if not isinstance(node, allowed)
    ] == []
    assigned = [ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)]
    assert assigned == ["__all__", "__getattr__"]


def test_every_folder_with_code_is_a_package():
    folders = {file.parent for file in files()}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").is_file()) == []


def test_no_file_name_says_nothing():
    names = [*files(), *(ROOT / "tests").rglob("*.py")]
    assert [str(file) for file in names if file.stem in SAYS_NOTHING or file.stem.endswith("_mixin")] == []
    assert [str(file) for file in files() if file.stem.startswith("base_")] == []


def test_no_file_asks_an_object_what_it_has():
    wrong = []
    for file in files():
        if str(file.relative_to(PACKAGE)) in MAY_USE_GETATTR:
            continue
        for name, call in calls(file):
            is_bare = isinstance(call.func, ast.Name)
            if is_bare and (name == "hasattr" or (name == "getattr" and len(call.args) > 2)):
                wrong.append(f"{where(file, call.lineno)}: {name}")
    assert wrong == []


def test_no_class_changes_what_attributes_or_classes_mean():
    special = {"__getattr__", "__getattribute__", "__setattr__"}
    wrong = []
    for file in files():
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef) and node.name in special:
                wrong.append(f"{where(file, node.lineno)}: {node.name}")
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                is_listed = name == "__getattr__" and str(file.relative_to(PACKAGE)) in MAY_SET_GETATTR
                if name in {*special, "__class__"} and not is_listed:
                    wrong.append(f"{where(file, node.lineno)}: assigns {name}")
    assert wrong == []


def test_hooks_are_registered_only_in_attach():
    wrong = []
    for file in files():
        if layer_of(file) != "attach":
            wrong += [f"{where(file, call.lineno)}: {name}" for name, call in calls(file) if name in HOOKS]
    assert wrong == []


def test_only_the_console_prints():
    console = PACKAGE / "cli" / "console.py"
    wrong = [
        where(file, call.lineno)
        for file in files()
        if file != console
        for name, call in calls(file)
        if name == "print" and isinstance(call.func, ast.Name)
    ]
    assert wrong == []


def writes_a_file(name: str, call: ast.Call) -> bool:
    if name in {"open", "fdopen"}:
        given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        modes = [
            node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    return name in WRITES


def test_only_the_edges_write_files():
    wrong = []
    for file in sources():
        if not {layer_of(file), str(file.relative_to(PACKAGE))} & MAY_WRITE:
            wrong += [
                f"{where(file, call.lineno)}: {name}"
                for name, call in calls(file)
                if writes_a_file(name, call)
            ]
    assert wrong == []


def test_only_settings_reads_the_environment():
    wrong = []
    for file in files():
        if file == PACKAGE / "settings.py":
            continue
        for node in nodes(file):
            if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in {
                "os.environ",
                "os.getenv",
                "environ",
            }:
                wrong.append(where(file, node.lineno))
    assert wrong == []


def test_no_file_is_longer_than_400_lines():
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files()
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_function_has_more_than_40_statements():
    wrong = {}
    for file in files():
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                num_statements = (
                    sum(isinstance(child, ast.stmt) for child in ast.walk(node)) - 1 - has_docstring
                )
                name = f"{file.relative_to(PACKAGE)}:{node.name}"
                if num_statements > MAX_STATEMENTS and name not in LONG_FUNCTIONS:
                    wrong[name] = num_statements
    assert wrong == {}


def test_nothing_can_unpickle():
    dangerous = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    wrong = []
    for file in files():
        wrong += [
            where(file, found.line) for found in imports(file) if found.module.split(".")[0] in dangerous
        ]
        for name, call in calls(file):
            if ast.unparse(call.func) == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                if keywords.get("weights_only") != "True":
                    wrong.append(f"{where(file, call.lineno)}: {name} without weights_only=True")
    assert wrong == []


def test_every_part_has_a_test_file_and_a_page_of_its_name():
    table = PACKAGE / "parts" / "table.py"
    if not table.is_file():
        pytest.skip("There is no table of parts yet.")
    names = {
        found.module.split(".")[-1]
        for found in own_imports(table)
        if found.module.startswith("polygraft.parts.")
    }
    parts = sorted(names - {"part"})
    assert parts != []
    assert [name for name in parts if not (ROOT / "tests" / "parts" / f"test_{name}.py").is_file()] == []
    assert [name for name in parts if not (ROOT / "docs" / "parts" / f"{name}.md").is_file()] == []


def cheap_files() -> list[Path]:
    """The files that `import polygraft` and `polygraft --help` load, before any command runs."""
    names = [
        "__init__.py",
        "__main__.py",
        "errors.py",
        "lazy.py",
        "types.py",
        "settings.py",
        "recipe/schema.py",
        "recipe/train_tables.py",
    ]
    found = [PACKAGE / name for name in names] + sorted((PACKAGE / "cli").glob("*.py"))
    return [file for file in found if file.is_file()]


@pytest.mark.parametrize("file", cheap_files(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_cheap_file_reaches_no_heavy_import(file: Path):
    seen: set[Path] = set()
    chains = [(file, (str(file.relative_to(PACKAGE)),))]
    while chains:
        current, chain = chains.pop()
        seen.add(current)
        for found in imports(current):
            if not found.at_module_level:
                continue
            assert found.module.split(".")[0] not in HEAVY, f"{' -> '.join(chain)} imports {found.module}"
            target = file_of(found.module) if found.module.startswith("polygraft") else None
            if target is not None and target not in seen:
                chains.append((target, (*chain, str(target.relative_to(PACKAGE)))))


def modules_after(*words: str) -> set[str]:
    """The modules that a fresh interpreter has imported after `python words...`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True, timeout=60
    )
    return {
        line.rsplit("|", 1)[-1].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }


def test_importing_polygraft_does_not_import_torch():
    assert modules_after("-c", "import polygraft") & (HEAVY | {"polygraft"}) == {"polygraft"}


@pytest.mark.skipif(not (PACKAGE / "__main__.py").is_file(), reason="There is no command line yet.")
def test_asking_for_help_does_not_import_torch():
    assert modules_after("-m", "polygraft", "--help") & (HEAVY | {"polygraft"}) == {"polygraft"}


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
        (test_hooks_are_registered_only_in_attach, "train/a.py", "layer.register_forward_hook(f)"),
        (test_only_the_console_prints, "cli/a.py", "print(1)"),
        (test_only_the_edges_write_files, "parts/a.py", "open('x', 'w')"),
        (test_only_the_edges_write_files, "parts/a.py", "path.write_text('x')"),
        (test_only_settings_reads_the_environment, "cli/a.py", "os.environ['X']"),
        (test_no_file_is_longer_than_400_lines, "store/a.py", "x = 1\n" * 401),
        (test_no_function_has_more_than_40_statements, "store/a.py", "def f():\n" + "    x = 1\n" * 41),
        (test_nothing_can_unpickle, "store/a.py", "import pickle"),
        (test_nothing_can_unpickle, "store/a.py", "torch.load(path, weights_only=False)"),
    ],
)
def test_a_rule_refuses_what_it_forbids(
    rule: Callable[[], None], name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "src" / "polygraft"
    for path, text in {"errors.py": "import os", name: code}.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "SRC", package.parent)
    monkeypatch.setitem(globals(), "PACKAGE", package)
    with pytest.raises(AssertionError):
        rule()
