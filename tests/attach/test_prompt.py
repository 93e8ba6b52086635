"""Prompts before the pieces of rows: what a pass gives, where it cannot begin, and what is not touched."""

from __future__ import annotations

import pytest
import torch
from tests.reference import PostNorm, bare_copy, layer_norm
from tests.tiny import BASES, make_base, make_batch, make_model, make_tokenizer, make_trained_graft
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.prompt import lengthen
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import OptionError, PlanError
from polygraft.evaluate.run import find_max_length, predict_tags
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.parts.prompt import Prompt

every_base = pytest.mark.parametrize("family", BASES)


def make(base: Base, name: str, *parts: Part, seed: int = 0) -> Graft:
    return make_trained_graft(base, name, parts, seed=seed)


class Prompted(PostNorm):
    """The slow way: the prompt's embeddings among the word embeddings, before positions, types and norm."""

    prompt: Tensor

    def embed(self, input_ids: Tensor) -> Tensor:
        words = self.w["embeddings.word_embeddings.weight"][input_ids]
        x = torch.cat([self.prompt.expand(len(words), -1, -1), words], dim=1)
        x = x + self.w["embeddings.position_embeddings.weight"][: x.shape[1]]
        if "embeddings.token_type_embeddings.weight" in self.w:
            x = x + self.w["embeddings.token_type_embeddings.weight"][0]
        return layer_norm(x, self.w, self.names["norm0"], eps=self.eps)


@pytest.mark.parametrize("family", ["bert", "electra", "electra-small", "distilbert"])
@torch.no_grad()
def test_a_prompt_is_more_word_embeddings(family: str):
    base, batch = make_base(family), make_batch()
    graft = make(base, "ner", Prompt(length=3))
    mask = torch.cat([torch.ones(3, 3, dtype=torch.long), batch.attention_mask], dim=1)
    slow = Prompted(bare_copy(make_model(family).base_model), mask)
    slow.prompt = graft.tensors()["prompt.values"]
    x = slow.enter(slow.embed(batch.input_ids))
    for layer in range(3):
        for sublayer, compute in (("attention", slow.attend), ("ffn", slow.feed)):
            x = slow.norm_after(layer, sublayer)(compute(layer, x) + x)
    with attach(base, "ner", grafts=[graft]) as attachment:
        hidden = attachment.run(*batch)
    assert hidden.shape == (3, 9, 16)
    assert ((hidden - x[:, 3:]) * batch.attention_mask[..., None]).abs().max() < 1e-5


@every_base
@torch.no_grad()
def test_places_are_those_of_the_pieces(family: str):
    base, batch, at = make_base(family), make_batch(), torch.tensor([0, 3, 10, 19])
    with attach(base, "ner", grafts=[make(base, "ner", Prompt(length=3))]) as attachment:
        for layer in (-1, 2):
            whole = attachment.run(*batch, layer=layer).flatten(0, 1)
            assert (attachment.run(*batch, layer=layer, at=at) - whole[at]).abs().max() < 1e-5


@every_base
@torch.no_grad()
def test_prompts_of_a_stack_stand_one_after_the_other(family: str):
    base, batch = make_base(family), make_batch()
    one, two = (make(base, name, Prompt(length=2), seed=seed) for seed, name in enumerate("ab"))
    both = make(base, "both", Prompt(length=4))
    values = torch.cat([one.tensors()["prompt.values"], two.tensors()["prompt.values"]])
    both.layers["prompt"].values.copy_(values)
    outputs: list[Tensor] = []
    for plan in ("stack(a, b)", "both", "stack(b, a)"):
        with attach(base, plan, grafts=[one, two, both]) as attachment:
            outputs.append(attachment.run(*batch))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("part", [Invertible(), Glow()])
@every_base
@torch.no_grad()
def test_a_language_s_embeddings_do_not_touch_the_prompt(family: str, part: Part):
    base, batch = make_base(family), make_batch()
    grafts = [make(base, "qu", part), make(base, "ner", Prompt(length=3))]
    seen: list[Tensor] = []
    handle = base.sites.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for plan in ("ner", "stack(qu, ner)", "stack(ner, qu)", "qu"):
        with attach(base, plan, grafts=grafts) as attachment:
            attachment.run(*batch)
    handle.remove()
    prompted, first, second, _ = seen
    assert torch.equal(first, second)
    assert torch.equal(first[:, :3], prompted[:, :3])
    assert (first[:, 3:] - prompted[:, 3:]).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["tokens", "sequence"])
@every_base
@torch.no_grad()
def test_heads_read_the_pieces_alone(family: str, kind: str):
    base, batch = make_base(family), make_batch()
    head = Head(objective="tokens" if kind == "tokens" else "sequence", labels=("a", "b"))
    graft = make(base, "ner", Prompt(length=3), head)
    with attach(base, "ner", grafts=[graft]) as attachment:
        hidden, scores = attachment.run(*batch), attachment.score(*batch)
        layers = attachment.find_head()
        read = batch.attention_mask.sum(1) - 1 if base.sites.is_causal else torch.zeros(3).long()
        expected = layers(hidden if kind == "tokens" else hidden[torch.arange(3), read])
    assert scores.shape[0] == 3
    assert (scores - expected).abs().max() < 1e-5


@torch.no_grad()
def test_a_pass_cannot_begin_above_a_prompt():
    base, batch = make_base("bert"), make_batch()
    with attach(base, "ner", grafts=[make(base, "ner", Prompt(length=3))]) as attachment:
        below = attachment.run(*batch, layer=1)
        with pytest.raises(PlanError) as refusal:
            attachment.run_above(below, *batch, start=1)
    assert str(refusal.value) == (
        "The plan 'ner' has a prompt, whose hidden states are not among those of a row's pieces, so a pass cannot "
        "begin above it. Begin with the pieces."
    )


@torch.no_grad()
def test_several_ways_with_prompts_are_as_each_alone():
    base, batch = make_base("bert"), make_batch()
    grafts = [
        make(base, "low", Prompt(length=3)),
        make(base, "a", Bottleneck(reduction=2, skip_layers=(0, 1))),
        make(base, "b", Bottleneck(reduction=2, skip_layers=(0, 1)), seed=5),
    ]
    with attach(base, "parallel(stack(low, a), stack(low, b))", grafts=grafts) as attachment:
        each = attachment.run_each(*batch)
    for name, hidden in zip("ab", each, strict=True):
        with attach(base, f"stack(low, {name})", grafts=grafts) as attachment:
            alone = attachment.run(*batch)
        assert (hidden - alone).abs().max() < 1e-5


@pytest.mark.parametrize(("family", "places"), [("bert", 48), ("xlm-roberta", 46), ("modernbert", 48)])
@torch.no_grad()
def test_rows_that_leave_no_room_for_the_prompt_are_refused(family: str, places: int):
    base = make_base(family)
    with attach(base, "ner", grafts=[make(base, "ner", Prompt(length=8))]) as attachment:
        fits = make_batch(lengths=(places - 8, 3))
        assert attachment.run(*fits).shape[1] == places - 8
        with pytest.raises(OptionError) as refusal:
            attachment.run(*make_batch(lengths=(places - 7, 3)))
    assert str(refusal.value) == (
        f"The plan 'ner' puts a prompt of 8 before rows of {places - 7} tokens, and the base 'tiny-{family}' has "
        f"{places} positions. Expected rows of at most {places - 8} tokens. Cut them, or take a shorter prompt."
    )


def test_sentences_are_cut_so_that_the_prompt_has_room():
    # The tokenizer allows 40 tokens, of which a prompt of 12 leaves the base's 48 positions 36.
    base = make_base("bert")
    graft = make(base, "ner", Prompt(length=12), Head(objective="tokens", labels=("O", "B-LOC")))
    assert find_max_length(base) == 40
    with attach(base, "ner", grafts=[graft]) as attachment:
        assert attachment.num_added == 12
        predictions = predict_tags(attachment, [("lima",) * 60])
    # Two of the 36 are <s> and </s>.
    assert predictions.num_cut == (60 - 34,)


@pytest.mark.parametrize(("pad", "piece"), [("<pad>", 0), ("<s>", 1)])
def test_the_pieces_that_make_room_are_not_those_of_padding(pad: str, piece: int):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad
    base = freeze_base(name="tiny", model=make_model("bert").base_model, tokenizer=tokenizer)
    ids, mask = lengthen(base, torch.tensor([[7, 8]]), torch.tensor([[1, 0]]), num_added=2)
    assert ids.tolist() == [[piece, piece, 7, 8]]
    assert mask.tolist() == [[1, 1, 1, 0]]
