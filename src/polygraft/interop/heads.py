"""Heads for labels as `transformers` names their tensors, which other libraries take over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from polygraft.errors import DataError, GraftError
from polygraft.parts.head import Head, HeadLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft

TOKENS = {"classifier.weight": "out.weight", "classifier.bias": "out.bias"}
SEQUENCE = {
    "classifier.dense.weight": "dense.weight",
    "classifier.dense.bias": "dense.bias",
    "classifier.out_proj.weight": "out.weight",
    "classifier.out_proj.bias": "out.bias",
}
"""The head of `XLMRobertaForSequenceClassification` and its relatives, which reads the first token."""


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
    tensors: Mapping[str, Tensor], *, labels: Sequence[str] | None, where: str
) -> HeadTensors:
    """Read a head for tokens or sequences whose tensors are named as `transformers` does.

    Args:
        tensors: All tensors that are to be the head's.
        labels: Names of the labels, in order; None calls them LABEL_0 and so on.
        where: What the messages call the file.

    Raises:
        DataError: They are not those of such a head, or there are other than so many labels.
    """
    names = next((names for names in (TOKENS, SEQUENCE) if names.keys() == tensors.keys()), None)
    if names is None:
        raise DataError(
            f"{where} has the tensors {', '.join(sorted(tensors)[:8])}, which are no head that polygraft knows. "
            f"Expected {', '.join(TOKENS)} for tokens, or {', '.join(SEQUENCE)} for sequences. Import the file "
            "without its head, or train a head anew."
        )
    own = {names[name]: tensor for name, tensor in tensors.items()}
    count = len(own["out.weight"]) if own["out.weight"].dim() == 2 else 0
    if labels is not None and len(labels) != count:
        raise DataError(
            f"{where} has a head for {count} labels, and {len(labels)} were given: {', '.join(labels)}. Expected one "
            "name for each, in order. Correct them."
        )
    objective = "tokens" if names is TOKENS else "sequence"
    part = Head(objective=objective, labels=tuple(labels) if labels is not None else make_labels(count))
    return HeadTensors(part=part, tensors=own)


def write_plain_head(graft: Graft) -> dict[str, Tensor]:
    """Give the tensors of a graft's head for labels as `transformers` names them; nothing without one.

    Raises:
        GraftError: The head computes something else than those of `transformers`.
    """
    head = graft.find_head()
    if not isinstance(head, HeadLayers):
        return {}
    options = head.options
    if options.layer != -1 or (head.dense is not None and options.activation != "tanh"):
        raise GraftError(
            f"The head of the graft '{graft.name}' reads layer {options.layer} with the activation "
            f"{options.activation}. Expected -1, the last hidden state, and tanh, as in the models of `transformers`. "
            "Export the graft without its head, or train another head."
        )
    names = TOKENS if head.dense is None else SEQUENCE
    own = {name: tensor.detach().cpu().clone() for name, tensor in head.state_dict().items()}
    return {theirs: own[name] for theirs, name in names.items()}
