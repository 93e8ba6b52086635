"""Files whose texts stand where labels should: without a word, each text would be learned as a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polygraft.data.example import LabelledText
from polygraft.data.open import show
from polygraft.data.reading import USUAL
from polygraft.errors import DataError

LEAST_TEXTS = 4
"""Fewer lines do not show which column repeats."""
AS_TABLE = "let its name end in .tsv, or give --format tsv (format = 'tsv' in a recipe)"


def refuse_swapped(texts: Sequence[LabelledText], *, path: Path | str) -> None:
    """Refuse labelled texts of which everything says that the two columns are swapped.

    Labels repeat and are short, texts differ and are long. The columns count as swapped where at least half of the
    labels differ, at least twice as many as texts do, and they are longer than the texts. So very many labels are let
    through, and so are texts with several labels each.

    Args:
        texts: What was read.
        path: The file, for the message.

    Raises:
        DataError: They are swapped.
    """
    num_labels, num_texts = len({each.label for each in texts}), len({each.text for each in texts})
    if len(texts) < LEAST_TEXTS or 2 * num_labels < len(texts) or num_labels < 2 * num_texts:
        return
    # In bytes, since one character of Chinese says as much as several letters.
    if sum(len(each.label.encode()) - len(each.text.encode()) for each in texts) <= 0:
        return
    first = texts[0]
    line = f"{first.label}\t{first.text}"
    raise DataError(
        f"{path} seems to have texts where labels should be: its {len(texts)} lines have {num_labels} different labels "
        f"and {num_texts} different text{'s' * (num_texts != 1)}, as in line {first.line} ({show(line)}). Expected a "
        "label, a tab and a text in each line. Swap the columns. Or read the file as a table: let its first line name "
        f"the columns, such as text<TAB>label, and {AS_TABLE}; --text-column and --label-column say which names are "
        "meant. If the labels are meant so, a first line label<TAB>text says it."
    )


def refuse_swapped_names(columns: Sequence[str], *, path: Path | str) -> None:
    """Refuse a first line that names a text and then a label, in a file that is read as lines of label, tab, text.

    Args:
        columns: What stands in the first line.
        path: The file, for the message.

    Raises:
        DataError: It does.
    """
    if len(columns) == 2 and columns[0] in USUAL["text"] and columns[1] in USUAL["label"]:
        raise DataError(
            f"{path}, line 1: the columns are called {columns[0]} and {columns[1]}, and the file is read as lines of "
            f"label, tab, text. Expected a table where columns have names. To read it as one, {AS_TABLE}."
        )
