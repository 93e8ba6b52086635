"""How a file of examples is read: its format, and which columns hold what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from polygraft.errors import OptionError, nearest

Kind: TypeAlias = Literal["tokens", "sequence", "text"]
"""What is read: tagged sentences, labelled texts, or plain text."""
Role: TypeAlias = Literal["token", "tag", "text", "label"]
"""What a column holds."""
Format: TypeAlias = Literal["conll", "text", "tsv", "csv", "jsonl", "parquet"]
Form: TypeAlias = Literal["conll", "labelled", "text", "tsv", "csv", "jsonl", "parquet", "datasets"]
"""How a file is read in fact: `conll`, `labelled` (label, tab, text) and `text` have no named columns."""

FORMATS: tuple[Format, ...] = ("conll", "text", "tsv", "csv", "jsonl", "parquet")
ENDINGS: dict[str, Format] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
"""What a file's ending says; every other ending is the plain format of what is read."""
PLAIN: dict[Kind, Form] = {"tokens": "conll", "sequence": "labelled", "text": "text"}
ROLES: dict[Kind, tuple[Role, ...]] = {
    "tokens": ("token", "tag"),
    "sequence": ("text", "label"),
    "text": ("text",),
}
USUAL: dict[Role, tuple[str, ...]] = {
    "token": ("tokens", "words"),
    "tag": ("ner_tags", "tags", "labels", "upos"),
    "text": ("text", "sentence"),
    "label": ("label", "category"),
}
"""The names that are looked for where none is given."""
HOLDS: dict[Role, str] = {"token": "tokens", "tag": "tags", "text": "text", "label": "label"}
FIRST, LAST = 0, -1
"""Where token and tag stand in CoNLL, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read, where their endings and the usual names of columns do not say it.

    Args:
        format: The format; None is what a file's ending says.
        token_column: The column of the words: a number in CoNLL, counted from 0, a name elsewhere.
        tag_column: The column of the tags, likewise; negative numbers count from the last.
        text_column: The name of the column of the text.
        label_column: The name of the column of the label.
        label_names: The labels in the order of their numbers, where a file has numbers for labels.

    Raises:
        OptionError: There is no such format, a name is empty, or a label stands twice among the names.

    Example:
        >>> Reading(token_column="words").find_name("token")
        'words'
    """

    format: Format | None = None
    token_column: int | str = FIRST
    tag_column: int | str = LAST
    text_column: str | None = None
    label_column: str | None = None
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.format is not None and self.format not in FORMATS:
            raise OptionError(
                f"The format is '{self.format}'. Expected one of {', '.join(FORMATS)}."
                f"{nearest(self.format, FORMATS)} Correct the word."
            )
        for role in USUAL:
            if self._find(role) == "":
                raise OptionError(
                    f"{role}_column is empty. Expected the name of a column. Give one, or none."
                )
        for place, name in enumerate(self.label_names):
            if not name.strip() or name in self.label_names[:place]:
                said = "holds an empty label" if not name.strip() else f"holds '{name}' twice"
                raise OptionError(
                    f"label_names {said}. Expected each label once, in the order of the numbers. Correct the list."
                )

    def find_name(self, role: Role) -> str | None:
        """Give the name of a column that was asked for, or None where the usual ones are looked for.

        Args:
            role: What the column holds.

        Raises:
            OptionError: A number was asked for; columns have names here.
        """
        found = self._find(role)
        if isinstance(found, str) or found is None:
            return found
        if found != (FIRST if role == "token" else LAST):
            raise OptionError(
                f"{role}_column is {found}, a number, and the columns of this format have names. Expected a name such "
                f"as '{USUAL[role][0]}'. Give the name."
            )
        return None

    def find_numbers(self) -> tuple[int, int]:
        """Give the columns of tokens and tags in CoNLL.

        Raises:
            OptionError: A name was asked for; columns have numbers there.
        """
        for role in ROLES["tokens"]:
            if isinstance(found := self._find(role), str):
                raise OptionError(
                    f"{role}_column is '{found}', a name, and the columns of CoNLL have numbers. Expected 0 for the "
                    "first or -1 for the last. Give a number, or the format of a file whose columns have names."
                )
        assert isinstance(self.token_column, int)
        assert isinstance(self.tag_column, int)
        return self.token_column, self.tag_column

    def names_columns(self, kind: Kind) -> bool:
        """Tell whether a column of what is read was asked for by its name."""
        return any(isinstance(self._find(role), str) for role in ROLES[kind])

    def _find(self, role: Role) -> int | str | None:
        return {
            "token": self.token_column,
            "tag": self.tag_column,
            "text": self.text_column,
            "label": self.label_column,
        }[role]


BY_ENDING = Reading()
"""Nothing is said: endings and the usual names of columns tell."""


def find_format(path: Path, reading: Reading, *, kind: Kind) -> Format | None:
    """Give the format of a file, as it was asked for or as its ending says; None for the plain one of what is read.

    Args:
        path: The file; nothing of it is read.
        reading: What was asked for.
        kind: What is read.

    Raises:
        OptionError: CoNLL or text was asked for, and something else is read.

    Example:
        >>> find_format(Path("train.jsonl"), Reading(), kind="tokens")
        'jsonl'
    """
    found = reading.format
    if found is None:
        return ENDINGS.get(path.suffix.lower())
    if found in ("conll", "text"):
        if found != PLAIN[kind]:
            fit = [name for name in FORMATS if name not in ("conll", "text") or name == PLAIN[kind]]
            raise OptionError(
                f"The format is '{found}', and {WANTED[kind]} are to be read from {path}. Expected one of "
                f"{', '.join(fit)}. Correct the format."
            )
        return None
    return found


WANTED: dict[Kind, str] = {
    "tokens": "tagged sentences",
    "sequence": "labelled texts",
    "text": "lines of text",
}
