"""What a file of examples holds once it is read."""

from __future__ import annotations

from dataclasses import dataclass

from polygraft.errors import DataError


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A sentence whose every token has one tag.

    Args:
        tokens: The words as the file spells them.
        tags: One tag a token: `B-PER`, `O`, `NOUN` ...
        line: The line of the file that holds the first token, counted from 1; 0 for a sentence that comes
            from no file.

    Raises:
        DataError: The numbers of tokens and tags differ.

    Example:
        >>> TaggedSentence(tokens=("Cusco",), tags=("B-LOC",), line=1).tags
        ('B-LOC',)
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    line: int

    def __post_init__(self) -> None:
        """Check that tokens and tags are equally many."""
        if len(self.tokens) != len(self.tags):
            raise DataError(
                f"A sentence (line {self.line}) has {len(self.tokens)} tokens and {len(self.tags)} tags. "
                "Every token has exactly one tag. Add the missing ones or remove the extra ones."
            )


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with one label.

    Args:
        text: The text, in Unicode's composed form (NFC).
        label: What the whole text is about.
        line: The line of the file, counted from 1; 0 for a text that comes from no file.
    """

    text: str
    label: str
    line: int
