"""A base's own head that scores pieces, for the bases that bring one: hidden ones, or the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from transformers.activations import ACT2FN

from polygraft.base.sites import HeadPaths
from polygraft.errors import BaseModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CAP_KEY = "final_logit_softcapping"


class PretrainedHead(nn.Module):
    """Dense, activation and LayerNorm, then a decoder onto the vocabulary; all frozen. Causal ones are a decoder alone.

    The two halves are apart because the invertible part is undone between them.
    """

    def __init__(
        self,
        *,
        dense: nn.Module | None,
        activation: nn.Module,
        norm: nn.Module | None,
        weight: Tensor,
        bias: Tensor | None,
    ) -> None:
        super().__init__()
        self.dense = dense
        self.activation = activation
        self.norm = norm
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def transform(self, hidden: Tensor) -> Tensor:
        """Take hidden states [N, D] to the decoder's input [N, E]."""
        if self.dense is not None:
            hidden = self.activation(self.dense(hidden))
        return hidden if self.norm is None else self.norm(hidden)


def find_head(model: PreTrainedModel, candidates: tuple[HeadPaths, ...]) -> PretrainedHead | None:
    """Take the head that scores pieces out of a model that has one, or give None.

    Args:
        model: A `...ForMaskedLM` or `...ForCausalLM` model.
        candidates: Where the family keeps its head.

    Raises:
        BaseModelError: The head bends its scores after the decoder, so that they are not linear in its input.
    """
    cap = model.config.to_dict().get(CAP_KEY)
    if cap is not None:
        raise BaseModelError(
            f"The head of this {type(model).__name__} bends its scores to at most {cap} ({CAP_KEY}). Expected a head "
            "whose scores are those of a linear layer. Take another base of the family."
        )
    layers: dict[str, nn.Module] = dict(model.named_modules())
    for paths in candidates:
        if paths.decoder in layers and (paths.dense is None or paths.dense in layers):
            return _read_head(model, layers, paths)
    return None


def _read_head(model: PreTrainedModel, layers: dict[str, nn.Module], paths: HeadPaths) -> PretrainedHead:
    decoder = layers[paths.decoder]
    parameters = dict(decoder.named_parameters(recurse=False))
    weight = parameters.get("weight")
    if weight is None:
        # The decoder is the word embeddings themselves.
        weight = model.get_input_embeddings().get_parameter("weight")
    return PretrainedHead(
        dense=None if paths.dense is None else layers[paths.dense],
        activation=_find_activation(model, paths.activation),
        norm=None if paths.norm is None else layers[paths.norm],
        weight=weight.data,
        bias=parameters["bias"].data if "bias" in parameters else None,
    )


def _find_activation(model: PreTrainedModel, name: str | None) -> nn.Module:
    if name is None:
        return nn.Identity()
    return ACT2FN[name[1:] if name.startswith("=") else str(model.config.to_dict()[name])]
