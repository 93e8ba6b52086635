"""The right labels of test sets, kept in a run's folder: with them its predictions can be compared with other runs'."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from polygraft.errors import PolygraftError
from polygraft.recipe.provenance import identify_test
from polygraft.recipe.score import list_gold
from polygraft.report.reader import from_plain
from polygraft.store.files import replace_file

if TYPE_CHECKING:
    from polygraft.evaluate.gain import Labels
    from polygraft.recipe.corpus import Corpus

FOLDER = "gold"
"""In the run's folder."""


def keep_gold(corpora: Sequence[Corpus], *, folder: Path) -> None:
    """Keep the right labels of every test set of a run, each once, by the digest of its data.

    Args:
        corpora: Those of the run's variants.
        folder: The run's.
    """
    for corpus in corpora:
        for task in corpus.recipe.tasks.values():
            for path in task.test.values():
                place = _find(folder, identify_test(corpus, task, path))
                if place.is_file():
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                text = json.dumps(
                    list_gold(corpus.read_examples(task, path)), ensure_ascii=False, separators=(",", ":")
                )
                replace_file(place, gzip.compress(text.encode(), mtime=0))


def load_gold(folder: Path, digest: str) -> Labels | None:
    """Give the right labels of a test set, a row a sentence, or None where they are not there or cannot be read.

    Args:
        folder: A run's.
        digest: Of the test's data, as `results.json` has it.
    """
    try:
        text = gzip.decompress(_find(folder, digest).read_bytes()).decode()
        return cast("Labels", from_plain(json.loads(text), tuple[tuple[str, ...], ...], place=digest))
    except (OSError, ValueError, EOFError, PolygraftError):
        return None


def _find(folder: Path, digest: str) -> Path:
    return folder / FOLDER / f"{digest}.json.gz"
