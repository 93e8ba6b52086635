"""The data that a recipe names: one dataclass a table of the TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polygraft.data.reading import Format, Reading


@dataclass(frozen=True, kw_only=True)
class LanguageData:
    """`[language.xx]`: plain text of a language."""

    text: Path
    """One sentence or paragraph a line, UTF-8; or a file or dataset with a column of texts."""
    max_lines: int | None = None
    """Read no more lines than this; None reads all."""
    format: Format | None = None
    """The format of the file; None is what its ending says."""
    text_column: str | None = None
    """Name of the column of the text, where columns have names."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _ = self.reading

    @property
    def reading(self) -> Reading:
        """How the text is read."""
        return Reading(format=self.format, text_column=self.text_column)


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """`[task.name]`: labelled data of a task."""

    objective: Literal["tokens", "sequence"] = "tokens"
    """`tokens` reads tagged sentences, `sequence` labelled texts."""
    source: str
    """The language of the training labels; a file may give several, each a task of its own."""
    task: str = ""
    """What results call it, if not by its name."""
    train: Path
    dev: Path
    test: Mapping[str, Path]
    """A test file for each language that is scored."""
    format: Format | None = None
    """The format of all its files; None is what their endings say."""
    token_column: int | str = 0
    """Column of the words: in CoNLL files a number, counted from 0, negative ones from the end; elsewhere a name."""
    tag_column: int | str = -1
    """Column of the tags, likewise."""
    text_column: str | None = None
    """Name of the column of the texts, where columns have names."""
    label_column: str | None = None
    """Name of the column of the labels, likewise."""
    label_names: tuple[str, ...] = ()
    """The labels in the order of their numbers, where the files have numbers for them."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _ = self.reading

    @property
    def columns(self) -> list[str | int]:
        """What digests tell of how its files are read, beside what identifies their content."""
        return [self.objective, self.token_column, self.tag_column]

    @property
    def reading(self) -> Reading:
        """How its files are read."""
        return Reading(
            format=self.format,
            token_column=self.token_column,
            tag_column=self.tag_column,
            text_column=self.text_column,
            label_column=self.label_column,
            label_names=self.label_names,
        )
