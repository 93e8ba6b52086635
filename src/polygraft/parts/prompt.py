"""The prompt: learned embeddings that stand before those of every row's pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from polygraft.parts.part import Dimensions, Part, check_number, make_values
from polygraft.parts.prefix import MOST_PLACES
from polygraft.parts.reach import PromptLayers

FRESH_STD = 0.02
"""The spread of the word embeddings of a fresh BERT."""


@dataclass(frozen=True, kw_only=True)
class Prompt(Part):
    """Puts P learned embeddings before the word embeddings of every row (prompt tuning, Lester et al. 2021, section 2).

    They take the row's first P positions, and all that the base does to the embeddings of pieces (token types, norm)
    is done to them; the pieces move up by P. What they make of themselves is not part of what a pass gives. Invertible
    parts leave them as they are.

    A fresh prompt changes a little: whatever stands before a text is seen by it.

    Example:
        >>> Prompt().length
        20
    """

    kind: ClassVar[str] = "prompt"

    length: int = 20
    """How many embeddings (P)."""

    def __post_init__(self) -> None:
        """Refuse a length that cannot be meant."""
        check_number(self.kind, "length", self.length, most=MOST_PLACES)

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> PromptEmbeddings:
        return PromptEmbeddings(self, embedding=dimensions.embedding, generator=generator)


class PromptEmbeddings(PromptLayers):
    """The embeddings of one graft."""

    def __init__(self, options: Prompt, *, embedding: int, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        self.values = make_values(options.length, embedding, generator=generator, std=FRESH_STD)

    @property
    @override
    def length(self) -> int:
        return self.options.length

    @override
    def make_prompt(self) -> Tensor:
        return self.values
