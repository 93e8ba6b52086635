"""Learning labels: one a token, or one a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch.nn import functional
from typing_extensions import override

from polygraft.data.collate import collate
from polygraft.data.encode import IGNORE, EncodedLabels, EncodedTags
from polygraft.errors import DataError
from polygraft.train.objective import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from polygraft.attach.attach import Attachment


class Labelling(Objective):
    """Cross entropy against the labels of the data, for the head of the plan.

    Args:
        data: Tagged sentences (a label at the first piece of each word) or labelled texts.
    """

    name: ClassVar[str] = "labels"

    def __init__(self, data: EncodedTags | EncodedLabels) -> None:
        self.data = data

    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.data.lengths

    @override
    def compute_loss(self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int) -> Loss:
        batch = collate(self.data, rows, pad_id=attachment.base.pad_id).to(attachment.base.device)
        if batch.labels is None:
            raise DataError("The training data has no labels. Give tagged sentences or labelled texts.")
        scores = attachment.score(batch.input_ids, batch.attention_mask)
        labels = batch.labels.flatten()
        total = functional.cross_entropy(scores.flatten(0, -2), labels, ignore_index=IGNORE, reduction="sum")
        return Loss(total=total, num_targets=int((labels != IGNORE).sum()), num_tokens=batch.num_tokens)
