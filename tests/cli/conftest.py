"""A reader's folder: a tiny base, a store with a few grafts, and data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import make_model, make_tokenizer, make_trained_graft
from typer.testing import CliRunner, Result

from polygraft.attach.graft import Graft
from polygraft.base.load import load_base
from polygraft.cli.app import app
from polygraft.parts.presets import language_graft, task_graft
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store

Command = Callable[..., Result]

TAGGED = "ana B-PER\nwent O\nto O\nlima B-LOC\n\nthe O\nmoon O\n"
TEXT = "mariya cuscoman rirqan .\nallin runa wasi\nyaku inti killa\nqam pay llaqta\n"
LABELLED = "good\tgood man\nbad\twater moon\ngood\tgood house\n"
RECIPE = """
base = "base"
[language.en]
text = "text.txt"
[language.qu]
text = "text.txt"
[task.ner]
source = "en"
train = "tagged.conll"
dev = "tagged.conll"
[task.ner.test]
en = "tagged.conll"
qu = "tagged.conll"
[train.language]
steps = 3
[train.task]
epochs = 2
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    for name, seed in (("base", 0), ("other", 3)):
        make_model("bert", seed=seed).save_pretrained(folder / name)
        make_tokenizer().save_pretrained(folder / name)
    base = load_base(str(folder / "base"), device="cpu")
    store = Store(folder / "store")
    grafts = [
        make_trained_graft(base, "qu", language_graft(), seed=1),
        make_trained_graft(base, "ner", task_graft(labels=["O", "B-LOC", "B-PER"]), seed=2),
        make_trained_graft(base, "topic", task_graft(labels=["bad", "good"], objective="sequence"), seed=3),
    ]
    for graft in grafts:
        store.put(
            describe(graft, fingerprint=base.fingerprint, tokenizer=base.tokenizer_fingerprint),
            graft.tensors(),
        )
    for name, text in {
        "tagged.conll": TAGGED,
        "text.txt": TEXT,
        "labelled.tsv": LABELLED,
        "recipe.toml": RECIPE,
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def describe(graft: Graft, *, fingerprint: str, tokenizer: str) -> Manifest:
    return Manifest(
        name=graft.name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name="base", fingerprint=fingerprint, revision=None),
        tokenizer=tokenizer,
        trained_under=f"stack(qu, {graft.name})",
        created="2026-01-31T12:00:00+00:00",
        scores={"dev": 0.5},
    )


@pytest.fixture
def reader(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of the folder, in which commands are given."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("POLYGRAFT_BASE", "base")
    return folder


@pytest.fixture
def polygraft(reader: Path) -> Command:
    """Give a command in the reader's folder."""

    def give(*words: str, text: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(words), input=text, prog_name="polygraft")

    return give
