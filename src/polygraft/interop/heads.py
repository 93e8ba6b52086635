"""Heads as the models of `transformers` name their tensors, which other libraries take over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from polygraft.errors import DataError, GraftError
from polygraft.parts.head import Head

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

Objective = Literal["tokens", "sequence", "mlm"]
DECODER = "decoder.weight"
"""The tensor of a masked-LM head that is the base's word embeddings again."""
NEAR = 1e-6
"""How far a stored copy of the word embeddings may lie from the base's."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which a head is laid out: what its tensors are called there and here."""

    objective: Objective
    names: Mapping[str, str]
    activation: str = "tanh"
    optional: frozenset[str] = frozenset()
    """Names that a file may lack, because another tensor is the same."""
    activation_key: str | None = None
    """Where the base's configuration names the activation, which has to be `activation`, or gelu for pieces."""
    legacy: bool = True
    """What `legacy` of the base's configuration is, which a DeBERTa may have as false."""

    @property
    def has_base_pooler(self) -> bool:
        """Whether its first layer is a part of the base there, which is not saved with a head alone."""
        return any(name.startswith("bert.pooler.") for name in self.names)


_OUT = {"classifier.weight": "out.weight", "classifier.bias": "out.bias"}
_DENSE = {
    "classifier.dense.weight": "dense.weight",
    "classifier.dense.bias": "dense.bias",
    "classifier.out_proj.weight": "out.weight",
    "classifier.out_proj.bias": "out.bias",
}
_SCORE = {"score.weight": "out.weight", "score.bias": "out.bias"}
_BERT_MLM = {
    "cls.predictions.transform.dense.weight": "dense.weight",
    "cls.predictions.transform.dense.bias": "dense.bias",
    "cls.predictions.transform.LayerNorm.weight": "norm.weight",
    "cls.predictions.transform.LayerNorm.bias": "norm.bias",
    "cls.predictions.bias": "bias",
    "cls.predictions.decoder.weight": DECODER,
    "cls.predictions.decoder.bias": "decoder.bias",
}
_ROBERTA_MLM = {
    "lm_head.dense.weight": "dense.weight",
    "lm_head.dense.bias": "dense.bias",
    "lm_head.layer_norm.weight": "norm.weight",
    "lm_head.layer_norm.bias": "norm.bias",
    "lm_head.bias": "bias",
    "lm_head.decoder.weight": DECODER,
    "lm_head.decoder.bias": "decoder.bias",
}
_DEBERTA_MLM = {
    "lm_predictions.lm_head.dense.weight": "dense.weight",
    "lm_predictions.lm_head.dense.bias": "dense.bias",
    "lm_predictions.lm_head.LayerNorm.weight": "norm.weight",
    "lm_predictions.lm_head.LayerNorm.bias": "norm.bias",
    "lm_predictions.lm_head.bias": "bias",
}
_ELECTRA_MLM = {
    "generator_predictions.dense.weight": "dense.weight",
    "generator_predictions.dense.bias": "dense.bias",
    "generator_predictions.LayerNorm.weight": "norm.weight",
    "generator_predictions.LayerNorm.bias": "norm.bias",
    "generator_lm_head.weight": DECODER,
    "generator_lm_head.bias": "bias",
}
_DISTILBERT_MLM = {
    "vocab_transform.weight": "dense.weight",
    "vocab_transform.bias": "dense.bias",
    "vocab_layer_norm.weight": "norm.weight",
    "vocab_layer_norm.bias": "norm.bias",
    "vocab_projector.weight": DECODER,
    "vocab_projector.bias": "bias",
}
_BERT_PIECES = Layout(
    objective="mlm",
    names=_BERT_MLM,
    optional=frozenset({"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}),
    activation_key="hidden_act",
)
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "bert": (
        Layout(objective="tokens", names=_OUT),
        Layout(
            objective="sequence",
            names={
                "bert.pooler.dense.weight": "dense.weight",
                "bert.pooler.dense.bias": "dense.bias",
                **_OUT,
            },
        ),
        _BERT_PIECES,
    ),
    "roberta": (
        Layout(objective="tokens", names=_OUT),
        Layout(objective="sequence", names=_DENSE),
        Layout(
            objective="mlm",
            names=_ROBERTA_MLM,
            optional=frozenset({"lm_head.decoder.weight", "lm_head.decoder.bias"}),
        ),
    ),
    "electra": (
        Layout(objective="tokens", names=_OUT),
        Layout(objective="sequence", names=_DENSE, activation="gelu"),
        Layout(objective="mlm", names=_ELECTRA_MLM, optional=frozenset({"generator_lm_head.weight"})),
    ),
    "deberta-v2": (
        Layout(objective="tokens", names=_OUT),
        Layout(
            objective="sequence",
            names={
                "pooler.dense.weight": "dense.weight",
                "pooler.dense.bias": "dense.bias",
                "classifier.weight": "out.weight",
                "classifier.bias": "out.bias",
            },
            activation="gelu",
            activation_key="pooler_hidden_act",
        ),
        _BERT_PIECES,
        Layout(objective="mlm", names=_DEBERTA_MLM, activation_key="hidden_act", legacy=False),
    ),
    "gpt2": (Layout(objective="tokens", names=_OUT),),
    "llama": (Layout(objective="tokens", names=_SCORE),),
    "distilbert": (
        Layout(objective="tokens", names=_OUT),
        Layout(
            objective="sequence",
            names={
                "pre_classifier.weight": "dense.weight",
                "pre_classifier.bias": "dense.bias",
                "classifier.weight": "out.weight",
                "classifier.bias": "out.bias",
            },
            activation="relu",
        ),
        Layout(
            objective="mlm",
            names=_DISTILBERT_MLM,
            optional=frozenset({"vocab_projector.weight"}),
            activation_key="activation",
        ),
    ),
}
"""By the name of a base's family. A pooler is a head's first layer, where a file has it: a bare encoder has none."""


@dataclass(frozen=True, kw_only=True)
class HeadTensors:
    """A head with its values."""

    part: Head
    tensors: Mapping[str, Tensor]
    """By the names that the part gives them, such as `out.weight`."""

    def named(self) -> dict[str, Tensor]:
        """Give the tensors as a graft names them."""
        return {f"{Head.kind}.{name}": tensor for name, tensor in self.tensors.items()}


def make_labels(count: int) -> tuple[str, ...]:
    """Name labels that have no names, as `transformers` does.

    Example:
        >>> make_labels(2)
        ('LABEL_0', 'LABEL_1')
    """
    return tuple(f"LABEL_{index}" for index in range(count))


def read_plain_head(
    base: Base, tensors: Mapping[str, Tensor], *, labels: Sequence[str] | None, where: str
) -> HeadTensors:
    """Read a head whose tensors are named as in the models of `transformers`.

    Args:
        base: The base, whose family says what its heads look like.
        tensors: All tensors that are to be the head's.
        labels: Names of the labels, in order; None calls them LABEL_0 and so on.
        where: What the messages call the file.

    Raises:
        DataError: They are not those of such a head, or there are other than so many labels.
    """
    layouts = LAYOUTS.get(base.sites.family.name, ())
    layout = next((each for each in layouts if _matches(each, tensors)), None)
    if layout is None:
        listed = (
            "; ".join(f"{each.objective}: {', '.join(list(each.names)[:4])}" for each in layouts) or "none"
        )
        raise DataError(
            f"{where} has the tensors {', '.join(sorted(tensors)[:8])}, which are no head that polygraft knows for a "
            f"base of the family '{base.sites.family.name}'. Expected those of one of these: {listed}. Import the file "
            "without its head, or train a head anew."
        )
    own = {layout.names[name]: tensor for name, tensor in tensors.items()}
    wanted = "gelu" if layout.objective == "mlm" else layout.activation
    activation = _find_activation(base, layout)
    if activation != wanted:
        raise DataError(
            f"{where} has a head for {'masked-LM' if layout.objective == 'mlm' else layout.objective} of "
            f"'{base.name}', whose activation is {activation}. Expected {wanted}, which is what such a head has. "
            "Import the adapter without its head."
        )
    if layout.objective == "mlm":
        return HeadTensors(part=Head(objective="mlm"), tensors=drop_decoder(base, own, where=where))
    part = Head(
        objective=layout.objective,
        labels=name_labels(own["out.weight"], labels, where=where),
        activation=layout.activation,
    )
    return HeadTensors(part=part, tensors=own)


def _find_activation(base: Base, layout: Layout) -> object:
    """Give the activation of a head of that base: that of the layout, unless the base's configuration names it."""
    own = "gelu" if layout.objective == "mlm" else layout.activation
    return (
        own if layout.activation_key is None else base.model.config.to_dict().get(layout.activation_key, own)
    )


def _matches(layout: Layout, tensors: Mapping[str, Tensor]) -> bool:
    return layout.names.keys() - layout.optional <= tensors.keys() <= layout.names.keys()


def name_labels(weight: Tensor, labels: Sequence[str] | None, *, where: str) -> tuple[str, ...]:
    """Give the names of the labels that a last layer's weight [labels, D] scores.

    Raises:
        DataError: There are other than so many names.
    """
    count = len(weight) if weight.dim() == 2 else 0
    if labels is None:
        return make_labels(count)
    if len(labels) != count:
        raise DataError(
            f"{where} has a head for {count} labels, and {len(labels)} were given: {', '.join(labels)}. Expected one "
            "name for each, in order. Correct them."
        )
    return tuple(labels)


def drop_decoder(base: Base, own: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Leave out the decoder of a masked-LM head, which has to be the base's word embeddings.

    Raises:
        DataError: It is another one.
    """
    words = base.sites.word_embeddings.weight.detach().float().cpu()
    decoder, bias = own.get(DECODER), own.get("decoder.bias")
    if decoder is not None and decoder.shape != words.shape:
        raise DataError(
            f"{where} has a decoder for {list(decoder.shape)}, and the word embeddings of '{base.name}' are "
            f"{list(words.shape)}. Expected equal shapes. Import it on the base that it was trained on."
        )
    difference = 0.0 if decoder is None else float((decoder - words).abs().max())
    if difference > NEAR or (bias is not None and not torch.equal(bias, own["bias"])):
        raise DataError(
            f"{where} has a masked-LM head with a decoder of its own: it differs from the word embeddings of "
            f"'{base.name}' by up to {difference:.3g}. Expected them again, since a head is stored without them. "
            "Import the adapter without its head, or on the base that it was trained on."
        )
    return {name: tensor for name, tensor in own.items() if name not in (DECODER, "decoder.bias")}


def write_plain_head(base: Base, graft: Graft, *, with_base: bool = True) -> dict[str, Tensor]:
    """Give the tensors of a graft's head as `transformers` names them; nothing without one.

    Args:
        base: Its base.
        graft: The graft.
        with_base: Whether a layer that is a part of the base there can be written as well.

    Raises:
        GraftError: The head computes something else than those of `transformers`.
    """
    head = graft.find_head()
    if head is None:
        return {}
    options, family = head.options, base.sites.family.name
    is_legacy = base.model.config.to_dict().get("legacy", True) is not False
    layouts = [
        each
        for each in LAYOUTS.get(family, ())
        if each.objective == options.objective and (with_base or not each.has_base_pooler)
    ]
    layout = next((each for each in reversed(layouts) if each.legacy or not is_legacy), None)
    own_activation = None if layout is None else _find_activation(base, layout)
    activation = "gelu" if options.objective == "mlm" else options.activation
    is_same = layout is not None and (options.objective == "tokens" or own_activation == activation)
    if layout is None or not is_same or options.layer != -1:
        raise GraftError(
            f"The head of the graft '{graft.name}' is one for '{options.objective}' that reads layer {options.layer} "
            f"with the activation {activation}. Expected what the models of `transformers` for the family "
            f"'{family}' have: the last hidden state, layer -1"
            f"{'' if layout is None else f', and {own_activation}'}. Export the graft without its head."
        )
    own = {name: tensor.detach().cpu().clone() for name, tensor in head.state_dict().items()}
    if options.objective == "mlm":
        own[DECODER] = base.sites.word_embeddings.weight.detach().cpu().clone()
        own["decoder.bias"] = own["bias"].clone()
    return {theirs: own[name] for theirs, name in layout.names.items()}
