"""Importing polygraft and asking for help load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.source_tree import CHECKOUT, imports

PACKAGE = CHECKOUT.package
HEAVY = {"torch", "transformers"}


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
            target = CHECKOUT.file_of(found.module) if found.module.startswith("polygraft") else None
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
