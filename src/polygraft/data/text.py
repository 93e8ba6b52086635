"""Plain text, one sentence or paragraph a line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from polygraft.data.open import read_lines, show
from polygraft.errors import DataError


def read_text(path: Path | str) -> list[str]:
    """Read the lines of a text file, without empty ones and without blanks at their ends.

    Text is brought into Unicode's composed form (NFC), so that one word has one spelling.

    Args:
        path: The file, UTF-8.

    Raises:
        DataError: The file cannot be read, holds no text, or looks binary.
    """
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise DataError(
                f"{path}, line {number}: the line holds a NUL character ({show(line)}). Plain text was "
                "expected, one sentence or paragraph a line. Check that the file is not binary or UTF-16."
            )
    texts = unicodedata.normalize("NFC", "\n".join(lines)).split("\n")
    texts = [text for text in map(str.strip, texts) if text]
    if not texts:
        raise DataError(
            f"{path} has no text. One sentence or paragraph a line was expected. "
            "Check that the file is complete and is the one you meant."
        )
    return texts
