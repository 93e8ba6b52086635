"""Every family against the slow reference: hidden states and masked-LM scores, with padding in the batch.

All is computed in float64, where a wrong formula cannot pass for rounding and no processor's way of adding decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from tests.reference import bare_copy, compute_hidden, compute_logits
from tests.tiny import BASES, DECODERS, make_batch, make_model, make_tokenizer, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.base.pretrained_head import find_head
from polygraft.base.sites import find_family
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

PARTS: Mapping[str, Sequence[Part]] = {
    "language": (Bottleneck(reduction=2), Invertible(reduction=2, activation="gelu")),
    "task": (Bottleneck(reduction=4, activation="gelu", scaling=0.5),),
    "paper": (Bottleneck(reduction=4, semantics="paper"),),
    "houlsby": (Bottleneck(reduction=4, placement="attention+ffn", activation="swish"),),
    "parallel": (Bottleneck(reduction=2, placement="parallel"),),
    "dropped": (Bottleneck(reduction=2, skip_layers=(0, -1)),),
    "lora": (Lora(rank=3, alpha=5, roles=("query", "key", "value", "output", "up", "down")),),
    "dora": (Lora(rank=2, rslora=True, dora=True, roles=("query", "value", "down"), skip_layers=(1,)),),
    "ia3": (IA3(),),
    "ia3-more": (IA3(outputs=("query", "value", "up"), inputs=("down", "output"), skip_layers=(-1,)),),
    "second": (Bottleneck(reduction=2, activation="tanh"), Invertible(reduction=1)),
}
STACKS = (
    ("language",),
    ("houlsby",),
    ("parallel",),
    ("dropped",),
    ("language", "task"),
    ("language", "paper"),
    ("language", "paper", "dropped"),
    ("language", "second", "task"),
    ("houlsby", "parallel", "language"),
    ("houlsby", "lora", "ia3-more"),
    ("lora",),
    ("dora",),
    ("ia3",),
    ("lora", "dora", "ia3-more", "language"),
    ("ia3", "ia3-more", "dora", "task", "lora"),
)


EXACT = 1e-12
"""Of values of size 1 to 10 in float64."""


class Case:
    """One tiny base with a copy that is never touched."""

    def __init__(self, name: str) -> None:
        # RMS norms and rotary positions compute in float32 whatever the base is in.
        computes_float32 = name in {"eurobert", *DECODERS} - {"gpt2"}
        self.tolerance = 1e-5 if computes_float32 else EXACT
        whole = make_model(name).double()
        self.whole = bare_copy(whole)
        head = find_head(whole, find_family(whole.config.model_type).heads)
        self.base: Base = freeze_base(
            name=name, model=whole.base_model, tokenizer=make_tokenizer(), head=head
        )
        self.grafts: dict[str, Graft] = {
            key: make_trained_graft(self.base, key, parts, seed=seed)
            for seed, (key, parts) in enumerate(PARTS.items())
        }
        for graft in self.grafts.values():
            graft.layers.double()


@pytest.fixture(scope="module", params=BASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def largest_difference(a: Tensor, b: Tensor, attention_mask: Tensor) -> float:
    """At pieces only: what stands at padding has no meaning."""
    return ((a - b) * attention_mask[..., None]).abs().max().item()


@torch.no_grad()
def test_the_reference_agrees_with_the_bare_base(case: Case):
    batch = make_batch()
    with attach(case.base, None) as attachment:
        hidden = attachment.run(*batch)
    expected = compute_hidden(case.whole.base_model, [], *batch)
    assert largest_difference(hidden, expected, batch.attention_mask) < case.tolerance


@pytest.mark.parametrize("names", STACKS, ids="-".join)
@torch.no_grad()
def test_a_stack_gives_what_its_formulas_say(case: Case, names: tuple[str, ...]):
    batch = make_batch()
    grafts = [case.grafts[name] for name in names]
    with attach(case.base, f"stack({', '.join(names)})", grafts=case.grafts) as attachment:
        hidden = attachment.run(*batch)
    with attach(case.base, None) as attachment:
        bare = attachment.run(*batch)
    expected = compute_hidden(case.whole.base_model, grafts, *batch)
    assert largest_difference(hidden, expected, batch.attention_mask) < case.tolerance
    assert largest_difference(hidden, bare, batch.attention_mask) > 0.1


@pytest.mark.parametrize("names", [(), ("language",), ("language", "second", "task")], ids="-".join)
@torch.no_grad()
def test_the_masked_lm_head_undoes_the_invertible_parts(case: Case, names: tuple[str, ...]):
    batch = make_batch()
    grafts = [case.grafts[name] for name in names]
    plan = f"stack({', '.join(names)})" if names else None
    with attach(case.base, plan, grafts=case.grafts) as attachment:
        hidden = attachment.run(*batch)
        x, weight, bias = attachment.prepare_decoding(hidden[batch.attention_mask == 1])
    scores = x @ weight.T if bias is None else x @ weight.T + bias
    expected = compute_logits(case.whole, grafts, compute_hidden(case.whole.base_model, grafts, *batch))
    assert (scores - expected[batch.attention_mask == 1]).abs().max() < case.tolerance


@torch.no_grad()
def test_the_base_s_own_head_gives_the_scores_of_transformers(case: Case):
    batch = make_batch()
    expected = case.whole(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    with attach(case.base, None) as attachment:
        x, weight, bias = attachment.prepare_decoding(attachment.run(*batch).flatten(0, 1))
    scores = x @ weight.T if bias is None else x @ weight.T + bias
    assert largest_difference(scores.view_as(expected), expected, batch.attention_mask) < case.tolerance


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@torch.no_grad()
def test_a_pass_that_stops_gives_the_hidden_state_that_the_whole_pass_comes_by(case: Case, num_layers: int):
    batch = make_batch()
    grafts = [case.grafts["language"], case.grafts["task"]]
    with attach(case.base, "stack(language, task)", grafts=case.grafts) as attachment:
        hidden = attachment.run(*batch, layer=num_layers)
    expected = compute_hidden(case.whole.base_model, grafts, *batch, num_layers=num_layers)
    assert largest_difference(hidden, expected, batch.attention_mask) < case.tolerance


@torch.no_grad()
def test_a_row_of_a_padded_batch_equals_the_row_alone(case: Case):
    batch = make_batch(lengths=(9, 5, 2))
    with attach(case.base, "stack(language, task)", grafts=case.grafts) as attachment:
        together = attachment.run(*batch)
        for row, length in enumerate((9, 5, 2)):
            alone = attachment.run(
                batch.input_ids[row : row + 1, :length], batch.attention_mask[row : row + 1, :length]
            )
            assert (together[row, :length] - alone[0]).abs().max() < case.tolerance
