"""What the tests of recipes run: bases of three layers, a few dozen lines, and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.tiny import make_model, make_tokenizer
from tests.train.material import make_lines, make_sentences

from polygraft.data.conll import write_conll
from polygraft.evaluate.result import Result
from polygraft.recipe.events import Event, Noted, RunFinished
from polygraft.recipe.read import load_recipe
from polygraft.recipe.run import run_recipe
from polygraft.recipe.schema import Recipe

RECIPE = """
base = "base"
[data]
root = "data"
[language.en]
text = "en.txt"
[language.qu]
text = "qu.txt"
[task.ner]
source = "en"
train = "train.conll"
dev = "dev.conll"
[task.ner.test]
en = "en.conll"
qu = "qu.conll"
sw = "sw.conll"
[train.mlm]
steps = 3
from_layer = 2
[train.language]
steps = 3
held_out = 2
[train.task]
epochs = 1
batch_tokens = 128
"""
STEPS = ["mlm", "language.en", "language.qu", "task.ner-alone", "task.ner", "evaluate.ner"]
"""The steps of the recipe on a base without a masked-LM head; with one, all but the first."""
HEADED = ()
BARE = ("base=bare",)
"""Settings for the base with a masked-LM head, and for the one without."""


def write_all(folder: Path) -> None:
    """Write `base` with a masked-LM head, `bare` without one, the data, and `recipe.toml`."""
    whole = make_model("bert")
    whole.save_pretrained(folder / "base")
    whole.base_model.save_pretrained(folder / "bare")
    for name in ("base", "bare"):
        make_tokenizer().save_pretrained(folder / name)
    data = folder / "data"
    data.mkdir()
    lines, sentences = make_lines(60), make_sentences(60)
    (data / "en.txt").write_text("\n".join(lines[:30]) + "\n", encoding="utf-8")
    (data / "qu.txt").write_text("\n".join(lines[20:50]) + "\n", encoding="utf-8")
    rows = {"train": (0, 30), "dev": (30, 40), "en": (40, 48), "qu": (44, 54), "sw": (54, 60)}
    for name, (start, end) in rows.items():
        write_conll(data / f"{name}.conll", sentences[start:end])
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")


def load(*settings: str) -> Recipe:
    return load_recipe(Path("recipe.toml"), settings=settings)


def run_all(
    recipe: Recipe, *, only: Sequence[str] = (), should_stop: Callable[[], bool] = lambda: False
) -> list[Event]:
    return list(run_recipe(recipe, only=only, should_stop=should_stop))


def find_end(events: Sequence[Event]) -> RunFinished:
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    return finished


def read_grafts(store: Path) -> dict[str, bytes]:
    """The tensors of every stored graft, bit for bit."""
    paths = sorted(store.glob("*/*/graft.safetensors"))
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def strip(results: tuple[Result, ...]) -> list[Result]:
    """Results without what differs from one machine and hour to the next."""
    return [dataclasses.replace(result, seconds=0.0, tokens_per_second=0.0) for result in results]


def names_of(events: list[Event], kind: type) -> list[str]:
    return [event.name for event in events if isinstance(event, kind)]


def list_sentences(events: list[Event]) -> list[str]:
    return [event.sentence for event in events if isinstance(event, Noted)]
