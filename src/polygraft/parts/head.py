"""The head: what turns hidden states into labels, and the names of those labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from polygraft.errors import OptionError
from polygraft.parts.activation import find_activation
from polygraft.parts.part import Dimensions, Part, check_choice, make_linear
from polygraft.types import TEXT_OBJECTIVES

OBJECTIVES = ("tokens", "sequence", *TEXT_OBJECTIVES)
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Head(Part):
    """Reads hidden states and gives scores.

    - `tokens`: one linear layer on every token, [B, T, D] to [B, T, labels];
    - `sequence`: dense, activation, linear on the first token, or on the last one of a causal base, [B, D] to
      [B, labels];
    - `mlm` and `causal`: dense, GELU, LayerNorm, [N, D] to [N, E]; the decoder is the base's own word embeddings with a
      bias a piece (Devlin et al. 2019). `mlm` scores hidden pieces, `causal` the next one.
    """

    kind: ClassVar[str] = "head"

    objective: Literal["tokens", "sequence", "mlm", "causal"]
    """What it scores."""
    labels: tuple[str, ...] = ()
    """Names of the labels, in the order of the scores; empty for `mlm` and `causal`."""
    layer: int = -1
    """After how many layers it reads: 8 reads the eighth layer's output, -1 the base's last hidden state.
    A base whose last layers were tuned for sentence similarity keeps its tokens better further down."""
    activation: str = "tanh"
    """Between the two linear layers of `sequence`."""

    def __post_init__(self) -> None:
        """Refuse options that cannot be meant."""
        check_choice(self.kind, "objective", self.objective, OBJECTIVES)
        find_activation(self.activation)
        scores_pieces = self.objective in TEXT_OBJECTIVES
        if scores_pieces and self.labels:
            raise OptionError(
                f"A {TEXT_OBJECTIVES[self.objective]} head has no labels, and {len(self.labels)} were given. Leave "
                "`labels` out."
            )
        if not scores_pieces and len(self.labels) < 2:
            raise OptionError(
                f"A head for '{self.objective}' has the labels {list(self.labels)}. Expected at least two. "
                "Give the names of all labels, in order."
            )
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise OptionError(f"A head has the labels {twice} more than once. Give each label once.")

    @override
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> HeadLayers | PieceHeadLayers:
        if self.layer != -1 and not 1 <= self.layer <= dimensions.num_layers:
            raise OptionError(
                f"A head reads after {self.layer} layers, and the base has {dimensions.num_layers}. "
                f"Expected -1, or 1 to {dimensions.num_layers}. Correct `layer`."
            )
        if self.objective in TEXT_OBJECTIVES:
            return PieceHeadLayers(self, dimensions=dimensions, generator=generator)
        return HeadLayers(
            self, hidden=dimensions.hidden, generator=generator, reads_last=dimensions.is_causal
        )


class HeadLayers(nn.Module):
    """The linear layers of a head for tokens or sequences."""

    def __init__(
        self, options: Head, *, hidden: int, generator: torch.Generator, reads_last: bool = False
    ) -> None:
        super().__init__()
        self.options = options
        self.reads_last = reads_last
        """Whether a sequence is read at its last token, which in a causal base alone has seen all of it."""
        self.activation = find_activation(options.activation)
        self.dense = (
            make_linear(hidden, hidden, generator=generator, std=STD)
            if options.objective == "sequence"
            else None
        )
        self.out = make_linear(len(options.labels), hidden, generator=generator, std=STD)

    def find_places(self, attention_mask: Tensor) -> Tensor | None:
        """Give the places that are read of rows [B, T], each `row * T + column`: None for all.

        Args:
            attention_mask: 1 for pieces, 0 for padding, which is on the right.
        """
        if self.dense is None:
            return None
        num_rows, length = attention_mask.shape
        first = torch.arange(num_rows, device=attention_mask.device) * length
        return first + (attention_mask.sum(1) - 1).clamp(min=0) if self.reads_last else first

    def forward(self, hidden: Tensor) -> Tensor:
        """Score hidden states at the places that are read: [..., D] to [..., labels]."""
        hidden = hidden.to(self.out.weight.dtype)
        if self.dense is not None:
            hidden = self.activation(self.dense(hidden))
        return self.out(hidden)


class PieceHeadLayers(nn.Module):
    """A masked-LM or causal head without its decoder, which is the base's word embeddings."""

    def __init__(self, options: Head, *, dimensions: Dimensions, generator: torch.Generator) -> None:
        super().__init__()
        self.options = options
        self.dense = make_linear(dimensions.embedding, dimensions.hidden, generator=generator, std=STD)
        self.norm = nn.LayerNorm(dimensions.embedding, eps=dimensions.norm_eps)
        self.bias = nn.Parameter(torch.zeros(dimensions.vocab))

    def transform(self, hidden: Tensor) -> Tensor:
        """Take hidden states [N, D] to the decoder's input [N, E]."""
        return self.norm(functional.gelu(self.dense(hidden.to(self.dense.weight.dtype))))
