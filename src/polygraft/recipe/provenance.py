"""Which data a run used, so that somebody on another machine can see whether theirs are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.data.address import is_address
from polygraft.recipe.names import show_task
from polygraft.report.summary import DataSummary

if TYPE_CHECKING:
    from polygraft.recipe.corpus import Corpus
    from polygraft.recipe.data import TaskData


def list_data(corpora: Sequence[Corpus]) -> tuple[DataSummary, ...]:
    """List the texts and the labelled files of a run with their digests, each once.

    Args:
        corpora: Those of the variants, in which files are digested once for all.
    """
    found: dict[tuple[str, str, str, str], DataSummary] = {}
    for corpus in corpora:
        for data in (*_list_texts(corpus), *_list_files(corpus)):
            found.setdefault((data.use, data.task, data.source, data.language), data)
    return tuple(found.values())


def identify_test(corpus: Corpus, task: TaskData, path: Path) -> str:
    """Give the digest of what the examples of a labelled file depend on: its content, and how that is read.

    Args:
        corpus: Reads it.
        task: Says how.
        path: The file.
    """
    return _hash([corpus.identify_examples(task, path), *task.columns])


def _list_texts(corpus: Corpus) -> Iterator[DataSummary]:
    recipe = corpus.recipe
    if recipe.train.task.packs or not recipe.variant.is_over:
        return
    for name, language in recipe.languages.items():
        yield DataSummary(
            use="text",
            language=name,
            file=_name(language.text),
            sha256=corpus.digest(language.text),
            digest=_hash([corpus.identify_text(name), language.max_lines]),
        )


def _list_files(corpus: Corpus) -> Iterator[DataSummary]:
    recipe = corpus.recipe
    for name, task in recipe.tasks.items():
        files = [
            ("train", task.source, task.train),
            ("dev", task.source, task.dev),
            *(("test", language, path) for language, path in task.test.items()),
        ]
        for use, language, path in files:
            yield DataSummary(
                use=use,
                task=show_task(recipe.tasks, name),
                source=task.source,
                language=language,
                file=_name(path),
                sha256=corpus.digest(path),
                digest=identify_test(corpus, task, path),
            )


def _name(path: Path) -> str:
    """Call a file by its name alone: where it lies is nobody's business."""
    return str(path) if is_address(path) else path.name


def _hash(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
