"""Effects stay at the edges: which files may hook, print, write and read the environment. None may unpickle."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.source_tree import SourceTree, assert_refused, calls, imports, nodes

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
    "train/tracked.py",  # After every update, without waiting for the disk.
    "train/memory.py",  # Tells the system to begin its record of the largest size anew.
}


def test_hooks_are_registered_only_in_attach(tree: SourceTree):
    wrong = []
    for file in tree.files():
        if tree.layer_of(file) != "attach":
            wrong += [
                f"{tree.where(file, call.lineno)}: {name}" for name, call in calls(file) if name in HOOKS
            ]
    assert wrong == []


def test_only_the_console_prints(tree: SourceTree):
    console = tree.package / "cli" / "console.py"
    wrong = [
        tree.where(file, call.lineno)
        for file in tree.files()
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


def test_only_the_edges_write_files(tree: SourceTree):
    wrong = []
    for file in tree.sources():
        if not {tree.layer_of(file), str(file.relative_to(tree.package))} & MAY_WRITE:
            wrong += [
                f"{tree.where(file, call.lineno)}: {name}"
                for name, call in calls(file)
                if writes_a_file(name, call)
            ]
    assert wrong == []


def test_only_settings_reads_the_environment(tree: SourceTree):
    wrong = []
    for file in tree.files():
        if file == tree.package / "settings.py":
            continue
        for node in nodes(file):
            if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in {
                "os.environ",
                "os.getenv",
                "environ",
            }:
                wrong.append(tree.where(file, node.lineno))
    assert wrong == []


def test_nothing_can_unpickle(tree: SourceTree):
    dangerous = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    wrong = []
    for file in tree.files():
        wrong += [
            tree.where(file, found.line) for found in imports(file) if found.module.split(".")[0] in dangerous
        ]
        for name, call in calls(file):
            if ast.unparse(call.func) == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                if keywords.get("weights_only") != "True":
                    wrong.append(f"{tree.where(file, call.lineno)}: {name} without weights_only=True")
    assert wrong == []


@pytest.mark.parametrize(
    ("rule", "name", "code"),
    [
        (test_hooks_are_registered_only_in_attach, "train/a.py", "layer.register_forward_hook(f)"),
        (test_only_the_console_prints, "cli/a.py", "print(1)"),
        (test_only_the_edges_write_files, "parts/a.py", "open('x', 'w')"),
        (test_only_the_edges_write_files, "parts/a.py", "path.write_text('x')"),
        (test_only_settings_reads_the_environment, "cli/a.py", "os.environ['X']"),
        (test_nothing_can_unpickle, "store/a.py", "import pickle"),
        (test_nothing_can_unpickle, "store/a.py", "torch.load(path, weights_only=False)"),
    ],
)
def test_a_rule_refuses_what_it_forbids(
    rule: Callable[[SourceTree], None], name: str, code: str, tmp_path: Path
):
    assert_refused(rule, name=name, code=code, root=tmp_path)
