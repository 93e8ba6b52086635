"""The Python files of a checkout as the rules of ARCHITECTURE.md look at them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

BESIDE = ("attacks", "benchmarks", "tests")


class Import(NamedTuple):
    """One imported name: `from module import name`, or `import module` with name None."""

    module: str
    name: str | None
    line: int
    at_module_level: bool


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


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


@dataclass(frozen=True)
class SourceTree:
    """A checkout, or what a test writes as one."""

    root: Path

    @property
    def package(self) -> Path:
        return self.root / "src" / "polygraft"

    def files(self) -> list[Path]:
        return sorted(self.package.rglob("*.py"))

    def sources(self) -> list[Path]:
        return [file for file in self.files() if file.name != "__init__.py"]

    def beside(self) -> list[Path]:
        """The files that are not of the package: tests, benchmarks, attacks."""
        return sorted(file for name in BESIDE for file in (self.root / name).rglob("*.py"))

    def where(self, file: Path, line: int) -> str:
        return f"{file.relative_to(self.root)}:{line}"

    def layer_of(self, file: Path) -> str:
        return file.relative_to(self.package).parts[0].removesuffix(".py")

    def file_of(self, module: str) -> Path | None:
        """The file that holds a module of polygraft, its __init__.py when it is a package."""
        path = (self.root / "src").joinpath(*module.split("."))
        candidates = (path.with_suffix(".py"), path / "__init__.py")
        return next((candidate for candidate in candidates if candidate.is_file()), None)


CHECKOUT = SourceTree(Path(__file__).parent.parent)


def assert_refused(rule: Callable[[SourceTree], None], *, name: str, code: str, root: Path) -> None:
    """Write a checkout with one file of that name, in the package or beside it, and see that a rule forbids it."""
    tree = SourceTree(root)
    for path, text in {"errors.py": "import os", name: code}.items():
        file = tree.root / path if path.startswith(BESIDE) else tree.package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError):
        rule(tree)
