"""The loss of held-out text on causal bases; that of hidden pieces is with the other scores in `test_run.py`."""

from __future__ import annotations

import math

import pytest
import torch
from tests.tiny import DECODERS, make_base, make_trained_graft
from tests.train.material import encode_lines
from torch.nn import functional

from polygraft.attach.attach import attach
from polygraft.data.masking import Masking
from polygraft.errors import BaseModelError
from polygraft.evaluate.perplexity import perplexity
from polygraft.evaluate.text_loss import measure_causal_lm, measure_masked_lm
from polygraft.parts.presets import language_graft


@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_the_loss_is_the_mean_over_all_pieces_behind_the_first(name: str):
    base = make_base(name)
    text, graft = encode_lines(base), make_trained_graft(base, "qu", language_graft(), seed=3)
    with attach(base, "qu", grafts=[graft]) as attachment:
        found = measure_causal_lm(attachment, text, vocabulary=None)
        losses = []
        for start, end in zip(text.starts[:-1], text.starts[1:], strict=True):
            ids = torch.from_numpy(text.ids[start:end]).long()
            hidden = attachment.run(ids[None], torch.ones_like(ids)[None])[0]
            x, weight, bias = attachment.prepare_decoding(hidden)
            assert bias is None
            losses.append(functional.cross_entropy((x @ weight.T)[:-1], ids[1:], reduction="none"))
    wanted = float(torch.cat(losses).mean())
    assert found.num_targets == text.num_tokens - text.num_rows == len(torch.cat(losses))
    assert found.loss == pytest.approx(wanted, rel=1e-5)
    assert perplexity(found.loss) == pytest.approx(math.exp(wanted), rel=1e-4)


def test_a_causal_base_does_not_guess_hidden_pieces():
    base = make_base("gpt2")
    with attach(base, None) as attachment, pytest.raises(BaseModelError) as refusal:
        measure_masked_lm(attachment, encode_lines(base), vocabulary=None, masking=Masking())
    assert str(refusal.value) == (
        "The base 'tiny-gpt2' reads from left to right, and masked language modelling (mlm) asks for pieces by what "
        "stands on both sides. Expected the objective causal, which guesses the next piece. Take `polygraft train "
        "causal`, or a base such as 'bundled'."
    )
