"""The proof that a graft does what it did in the library that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polygraft.attach.attach import Attachment, attach
from polygraft.errors import DataError, GraftError
from polygraft.interop.named_tensors import parse_safetensors
from polygraft.parts.head import HeadLayers, PieceHeadLayers

if TYPE_CHECKING:
    from polygraft.attach.graft import Graft
    from polygraft.base.base import Base

TOLERANCE = 1e-5
"""How far float32 outputs of two libraries may lie apart that compute the same in another order."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How near a graft came to what another library gave for the same input."""

    compared: str
    """What was compared: "hidden states", "scores of labels" or "scores of pieces"."""
    largest_difference: float
    num_values: int
    """How many numbers were compared; padding is left out."""
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An input, and what another library gave for it."""

    input_ids: Tensor
    """[B, T]."""
    attention_mask: Tensor
    """[B, T]."""
    outputs: Tensor
    """Hidden states [B, T, D], scores of labels [B, T, labels] or [B, labels], or scores of pieces [B, T, V]."""


def read_expected(inputs: Path, outputs: Path) -> Expected:
    """Read an input and what was expected for it from two safetensors files.

    Args:
        inputs: Has `input_ids` and `attention_mask`, both [B, T].
        outputs: Has one tensor.

    Raises:
        DataError: A file is not there, or has other tensors.
    """
    given = _read(inputs)
    if given.keys() != {"input_ids", "attention_mask"}:
        raise DataError(
            f"{inputs} has the tensors {', '.join(sorted(given)) or 'none'}. Expected input_ids and attention_mask, "
            "each of rows and tokens. Write them with safetensors."
        )
    ids, mask = given["input_ids"], given["attention_mask"]
    if ids.dim() != 2 or ids.shape != mask.shape:
        raise DataError(
            f"{inputs} has input_ids of the shape {list(ids.shape)} and an attention_mask of {list(mask.shape)}. "
            "Expected one shape of rows and tokens for both. Write them again."
        )
    found = _read(outputs)
    if len(found) != 1:
        raise DataError(
            f"{outputs} has the tensors {', '.join(sorted(found)) or 'none'}. Expected one, what the other library "
            "gave for the input. Write it again."
        )
    return Expected(input_ids=ids, attention_mask=mask, outputs=next(iter(found.values())).float())


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. Expected a safetensors file. Check the path.")
    return parse_safetensors(path.read_bytes(), where=str(path))


@torch.no_grad()
def certify(base: Base, graft: Graft, expected: Expected, *, tolerance: float = TOLERANCE) -> Certificate:
    """Compare what a graft gives with what the library gave that it came from.

    Args:
        base: The base that it was imported for.
        graft: The graft.
        expected: An input, and what was given for it.
        tolerance: The largest difference that is accepted.

    Raises:
        DataError: What was expected has a shape that the graft gives nothing of.
        GraftError: The difference is larger.
    """
    ids, mask = (tensor.to(base.device).long() for tensor in (expected.input_ids, expected.attention_mask))
    with attach(base, graft.name, grafts=[graft], any_base=True) as attachment:
        compared, given = _compute(attachment, graft, ids, mask, expected.outputs.shape)
    difference = (given.float().cpu() - expected.outputs).abs()
    num_values = difference.numel()
    if difference.dim() == 3:
        difference = difference[mask.bool().cpu()]
        num_values = difference.numel()
    largest = float(difference.max()) if num_values else 0.0
    # Written so that a difference that is no number is refused, too.
    if not largest <= tolerance:
        raise GraftError(
            f"The graft '{graft.name}' gives {compared} that differ by up to {largest:.3g} from those expected. "
            f"Expected at most {tolerance:g}. The base may be another one than that it was trained on, or the input "
            "may be: nothing was stored. Compare the base's name and the tokenizer."
        )
    return Certificate(
        compared=compared, largest_difference=largest, num_values=num_values, tolerance=tolerance
    )


def _compute(
    attachment: Attachment, graft: Graft, ids: Tensor, mask: Tensor, wanted: torch.Size
) -> tuple[str, Tensor]:
    head, (rows, tokens) = graft.find_head(), ids.shape
    shapes: dict[str, tuple[int, ...]] = {"hidden states": (rows, tokens, attachment.base.sites.hidden)}
    if isinstance(head, HeadLayers):
        by_row = head.options.objective == "sequence"
        shapes["scores of labels"] = (rows, *(() if by_row else (tokens,)), len(head.options.labels))
    if isinstance(head, PieceHeadLayers):
        shapes["scores of pieces"] = (rows, tokens, attachment.base.sites.vocab)
    # A head's scores come first where a shape could be both.
    found = next((name for name in reversed(shapes) if shapes[name] == tuple(wanted)), None)
    if found == "scores of labels":
        return found, attachment.score(ids, mask)
    if found == "hidden states":
        return found, attachment.run(ids, mask)
    if found is None or not isinstance(head, PieceHeadLayers):
        listed = ", or ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise DataError(
            f"What was expected has the shape {list(wanted)}. Expected {listed}, which is what the graft "
            f"'{graft.name}' gives for this input. Give outputs of the same input and the same graft."
        )
    hidden = attachment.run(ids, mask, layer=head.options.layer)
    x, weight, bias = attachment.prepare_decoding(hidden.flatten(0, 1))
    scores = x @ weight.to(x.dtype).T + (0 if bias is None else bias)
    return found, scores.view(rows, tokens, -1)
