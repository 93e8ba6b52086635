"""A base: a frozen transformer with its tokenizer, its places and its fingerprints."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from polygraft.base.fingerprint import fingerprint_head, fingerprint_weights
from polygraft.errors import BaseModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from polygraft.base.pretrained_head import PretrainedHead
    from polygraft.base.sites import Sites


@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """A frozen transformer. Nothing that polygraft does changes one of its values."""

    name: str
    revision: str | None
    """The commit of a hub's repository, or None for a folder and the bundled base."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    sites: Sites
    head: PretrainedHead | None
    """The base's own head that scores pieces: hidden ones, or of a causal base the next one. None without one."""
    fingerprint: str
    tokenizer_fingerprint: str
    head_fingerprint: str | None = None
    """Of its own head, which language grafts are trained against; None without one."""
    is_int8: bool = False
    """Whether the forward of its linear layers is in int8; the weights are float32 then."""
    in_force: list[object] = field(default_factory=list)
    """The attachment in force, if any; kept here so that two cannot be at once."""

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.sites.word_embeddings.weight.device

    @property
    def dtype(self) -> str:
        """The name of the number format that its linear layers multiply in."""
        return "int8" if self.is_int8 else str(self.model.dtype).removeprefix("torch.")

    # Looked up once: a tokenizer of 250,002 pieces takes a tenth of a second for it.
    @cached_property
    def pad_id(self) -> int:
        """The id of the piece that fills rows; in a causal base without one, that which ends texts.

        Rows are filled on the right, where no token of a causal base looks.
        """
        tokens = self.tokenizer.special_tokens_map
        stands_in = self.sites.is_causal and "pad_token" not in tokens and "eos_token" in tokens
        return self._find_id("eos" if stands_in else "pad")

    @cached_property
    def mask_id(self) -> int:
        """The id of the piece that stands for a hidden one."""
        return self._find_id("mask")

    @cached_property
    def special_ids(self) -> list[int]:
        """The ids of the pieces that stand for no text."""
        return list(self.tokenizer.all_special_ids)

    @property
    def guesses(self) -> Literal["mlm", "causal"]:
        """The objective by which it learns from plain text: hidden pieces, or the next piece where it is causal."""
        return "causal" if self.sites.is_causal else "mlm"

    def check_guesses(self, objective: Literal["mlm", "causal"]) -> None:
        """Refuse to have pieces guessed in another way than the base can.

        Raises:
            BaseModelError: It is to guess hidden pieces and is causal, or to guess the next piece and is not.
        """
        if objective == self.guesses:
            return
        if self.sites.is_causal:
            raise BaseModelError(
                f"The base '{self.name}' reads from left to right, and masked language modelling (mlm) asks for pieces "
                "by what stands on both sides. Expected the objective causal, which guesses the next piece. Take "
                "`polygraft train causal`, or a base such as 'bundled'."
            )
        raise BaseModelError(
            f"The base '{self.name}' sees whole rows, and the objective causal asks for the next piece, which it would "
            "see. Expected masked language modelling, which hides what is asked for. Take `polygraft train mlm`, or a "
            "base that reads from left to right, such as GPT-2."
        )

    def _find_id(self, role: str) -> int:
        piece = self.tokenizer.special_tokens_map.get(f"{role}_token")
        if piece is None:
            raise BaseModelError(
                f"The tokenizer of '{self.name}' has no {role} piece, which is needed here. Expected one of the "
                f"special tokens to be the {role}_token. Add it to the tokenizer's configuration."
            )
        return self.tokenizer.get_vocab()[str(piece)]

    @property
    def num_parameters(self) -> int:
        """Count the frozen weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def num_bytes(self) -> int:
        """Bytes of the frozen weights in memory: what a full copy would cost."""
        return sum(weight.numel() * weight.element_size() for weight in self.model.parameters())

    def compute_fingerprint(self) -> str:
        """Hash the weights as they are now, to see that nothing changed them.

        Equals `fingerprint` where the weights were not rounded to another dtype.
        """
        return fingerprint_weights(self.model.named_parameters(), self.model.config)

    def compute_head_fingerprint(self) -> str | None:
        """Hash its own head as it is now; None without one."""
        if self.head is None:
            return None
        is_tied = self.head.weight.data_ptr() == self.sites.word_embeddings.weight.data_ptr()
        return fingerprint_head(self.head, is_tied=is_tied)
