"""Plans beyond the stack: fusions, averages of outputs, and grafts side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tests.tiny import make_base, make_batch, make_trained_graft

from polygraft.attach import hooks
from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.base.base import Base
from polygraft.errors import OptionError, PlanError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.delta import Delta
from polygraft.parts.fusion import Fusion
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.part import Part

LABELS = ("O", "B-LOC", "I-LOC")
PARTS: dict[str, Sequence[Part]] = {
    "a": [Bottleneck(reduction=2)],
    "b": [Bottleneck(reduction=4, skip_layers=(0,))],
    "top": [Bottleneck(reduction=4, activation="gelu")],
    "qu": [Bottleneck(reduction=2), Invertible()],
    "en": [Bottleneck(reduction=2), Invertible()],
    "mix": [Fusion(skip_layers=(1,))],
    "ner": [Bottleneck(reduction=4, skip_layers=(0, 1)), Head(objective="tokens", labels=LABELS)],
    "pos": [
        Bottleneck(reduction=4, skip_layers=(0, 1)),
        Head(objective="tokens", labels=("X", "Y"), layer=-1),
    ],
    "topic": [Head(objective="sequence", labels=("s", "t"))],
    "edit": [Delta(), Head(objective="tokens", labels=LABELS)],
    "houlsby": [Bottleneck(reduction=4, placement="attention+ffn")],
    "lora": [Lora(rank=2)],
    "bits": [BitFit()],
    "last": [Bottleneck(reduction=4, skip_layers=(0, 1))],
}


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("bert")


@pytest.fixture(scope="module")
def grafts(base: Base) -> list[Graft]:
    return [
        make_trained_graft(base, name, parts, seed=seed) for seed, (name, parts) in enumerate(PARTS.items())
    ]


@torch.no_grad()
def test_an_average_of_outputs_is_the_average_at_every_place(base: Base, grafts: list[Graft]):
    batch = make_batch()
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str):
        return lambda layer, arguments, output: seen.__setitem__(name, output.clone())

    # At the lowest feed-forward all plans see the same input.
    output = base.sites.sublayer(0, "ffn").output
    for plan in ("a", "top", "average(a, top, weights=0.25:0.75, of=outputs)"):
        with attach(base, plan, grafts=grafts) as attachment:
            handle = output.register_forward_hook(watch(plan))
            attachment.run(*batch)
            handle.remove()
    first, second, mean = seen.values()
    assert torch.allclose(mean, 0.25 * first + 0.75 * second, atol=1e-5)


@torch.no_grad()
def test_a_member_that_does_nothing_in_a_layer_counts_as_doing_nothing(base: Base, grafts: list[Graft]):
    batch = make_batch()
    with attach(
        base, "average(b, b2, of=outputs)", grafts=[*grafts, rename(grafts, "b", "b2")]
    ) as attachment:
        doubled = attachment.run(*batch)
    with attach(base, "b", grafts=grafts) as attachment:
        single = attachment.run(*batch)
    assert torch.allclose(doubled, single, atol=1e-5)


def rename(grafts: Sequence[Graft], name: str, new: str) -> Graft:
    graft = next(graft for graft in grafts if graft.name == name)
    return Graft(name=new, parts=graft.parts, layers=graft.layers, base_fingerprint=graft.base_fingerprint)


@torch.no_grad()
def test_members_do_nothing_where_their_fusion_is_left_out(base: Base, grafts: list[Graft]):
    batch = make_batch()
    bare = Fusion(skip_layers=(0, 1))
    top = make_trained_graft(base, "upper", [bare])
    with attach(base, "fuse(a, b, by=upper)", grafts=[*grafts, top]) as attachment:
        fused = attachment.run(*batch, layer=2)
    with attach(base, None) as attachment:
        assert torch.equal(fused, attachment.run(*batch, layer=2))


def test_a_fusion_learns_and_its_members_do_not(base: Base, grafts: list[Graft]):
    mix = next(graft for graft in grafts if graft.name == "mix")
    frozen = [graft for graft in grafts if graft.name in {"a", "qu"}]
    for graft in frozen:
        graft.layers.requires_grad_(False)
    with attach(base, "stack(qu, fuse(a, b, by=mix))", grafts=grafts) as attachment:
        attachment.run(*make_batch()).square().sum().backward()
    assert all(value.grad is not None for value in mix.layers.parameters())
    assert all(value.grad is None for graft in frozen for value in graft.layers.parameters())
    for graft in grafts:
        graft.layers.requires_grad_(True).zero_grad()


@pytest.mark.parametrize(
    "plan", ["stack(a, parallel(ner, pos, edit))", "parallel(ner, stack(top, ner), topic)"]
)
@torch.no_grad()
def test_side_by_side_gives_what_each_gives_alone(base: Base, grafts: list[Graft], plan: str):
    batch = make_batch()
    with attach(base, plan, grafts=grafts) as attachment:
        scores = attachment.score_each(*batch)
        ways = [str(member) for member in attachment.members]
    assert len(scores) == 3
    for way, found in zip(ways, scores, strict=True):
        with attach(base, way, grafts=grafts) as attachment:
            alone = attachment.score(*batch)
        assert found.shape == alone.shape
        difference = (found - alone).abs()
        if difference.dim() == 3:
            difference = difference * batch.attention_mask[..., None]
        assert difference.max() < 1e-5 * max(1.0, alone.abs().max().item())


@torch.no_grad()
def test_what_is_below_all_differences_is_computed_once(base: Base, grafts: list[Graft]):
    rows: list[int] = []
    lowest, highest = base.sites.layers[0], base.sites.layers[-1]
    with attach(base, "stack(a, parallel(ner, pos))", grafts=grafts) as attachment:
        assert attachment.count_shared_layers() == 2
        counted: list[int] = []
        first = lowest.register_forward_pre_hook(lambda layer, arguments: rows.append(len(arguments[0])))
        last = highest.register_forward_pre_hook(lambda layer, arguments: counted.append(len(arguments[0])))
        attachment.score_each(*make_batch())
        first.remove()
        last.remove()
    # The hook runs for the passes above as well, whose lowest layers compute nothing.
    assert rows[0] == 3
    assert counted == [6]


@pytest.mark.parametrize(
    "plan",
    [
        "parallel(stack(a, top, last), stack(top, a, ner))",
        "parallel(stack(average(a, top, weights=0.9:0.1, of=outputs), last), stack(average(a, top, weights=0.1:0.9, "
        "of=outputs), ner))",
        "parallel(stack(edit, last), stack(bits, edit, b))",
        "parallel(stack(a, stack(top, last)), stack(a, top, ner))",
    ],
)
@torch.no_grad()
def test_the_same_grafts_in_another_order_are_not_the_same(base: Base, grafts: list[Graft], plan: str):
    batch = make_batch()
    with attach(base, plan, grafts=grafts) as attachment:
        found = attachment.run_each(*batch)
        ways = [str(member) for member in attachment.members]
        assert attachment.count_shared_layers() == (2 if plan.endswith("stack(a, top, ner))") else 0)
    for way, states in zip(ways, found, strict=True):
        with attach(base, way, grafts=grafts) as attachment:
            alone = attachment.run(*batch)
        difference = ((states - alone) * batch.attention_mask[..., None]).abs().max()
        assert difference < 1e-5 * max(1.0, alone.abs().max().item())


@torch.no_grad()
def test_places_of_members_side_by_side(base: Base, grafts: list[Graft]):
    batch = make_batch()
    at = torch.tensor([1, 9, 19])
    with attach(base, "stack(a, parallel(ner, pos))", grafts=grafts) as attachment:
        wide = attachment.run_each(*batch)
        narrow = attachment.run_each(*batch, at=at)
    for all_states, states in zip(wide, narrow, strict=True):
        assert torch.allclose(hooks.pick(all_states, at), states, atol=1e-5)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            "fuse(a, b, by=top)",
            "The plan 'fuse(a, b, by=top)' fuses by 'top', whose parts are bottleneck. Expected one fusion, and a "
            "head at most. Name a graft that was trained as a fusion.",
        ),
        (
            "stack(a, mix)",
            "The plan 'stack(a, mix)' has 'mix', which fuses other grafts, by itself. Expected it as fuse(..., by=mix) "
            "with the grafts that it was trained on. Write them there.",
        ),
        (
            "fuse(qu, en, by=mix)",
            "The plan 'fuse(qu, en, by=mix)' fuses grafts of which 2 have invertible parts: qu, en. Their changes of "
            "the embeddings cannot be mixed, and one at most was expected. Leave the others' invertible parts out, or "
            "stack one of the grafts below.",
        ),
        (
            "average(qu, a, of=outputs)",
            "The plan 'average(qu, a, of=outputs)' averages outputs, and 'qu' has an invertible part: the mean of two "
            "invertible functions has no inverse that is known. Average the parameters (of=parameters), or stack the "
            "graft below.",
        ),
        (
            "average(bits, edit, of=outputs)",
            "A part that changes weights stands inside an average or a fusion, whose members act on one output. "
            "Expected it in a stack. Stack the graft with the part that changes weights below.",
        ),
        (
            "fuse(a, lora, by=mix)",
            "The plan 'fuse(a, lora, by=mix)' fuses 'lora', which acts at layer 0, query, where the fusion of 'mix' "
            "mixes nothing. Expected members whose bottlenecks stand where it mixes. Stack the graft below the fusion, "
            "or train a fusion with placement='attention+ffn' for bottlenecks behind both sublayers.",
        ),
        (
            "fuse(a, houlsby, by=mix)",
            "The plan 'fuse(a, houlsby, by=mix)' fuses 'houlsby', which acts at layer 0, attention, where the fusion "
            "of 'mix' mixes nothing. Expected members whose bottlenecks stand where it mixes. Stack the graft below "
            "the fusion, or train a fusion with placement='attention+ffn' for bottlenecks behind both sublayers.",
        ),
        (
            "average(stack(a, b), a)",
            "The plan 'average(stack(a, b), a)' names 'a' 2 times. A graft acts once in a plan. Name each graft once.",
        ),
        (
            "average(stack(a, b), top)",
            "The plan 'average(stack(a, b), top)' averages the parameters of whole stacks. Expected names of single "
            "grafts of one shape. Stack the averages instead, as in stack(average(a, b), average(c, d)), or say "
            "of=outputs.",
        ),
        (
            "stack(a, route(ner, pos))",
            "The plan 'stack(a, route(ner, pos))' has a route inside another form. Expected it outermost, as in "
            "route(stack(qu, ner), stack(en, ner)). Write each row's whole plan into the route.",
        ),
        (
            "route(parallel(ner, pos), a)",
            "The plan 'route(parallel(ner, pos), a)' has a parallel inside a route, whose rows have one output each. "
            "Expected one of both. Put the members of the parallel into the route.",
        ),
        (
            "average(parallel(ner, pos), a, of=outputs)",
            "The plan 'average(parallel(ner, pos), a, of=outputs)' has a parallel inside a form that gives one output. "
            "Expected it outermost, or in a stack. Put the parallel around.",
        ),
        (
            "average(a, top, weights=0.5:0.6)",
            "The plan 'average(a, top, weights=0.5:0.6)' has 2 weights with the sum 1.1 for 2 grafts. Expected one a "
            "graft, none below 0, with the sum 1. Correct the weights.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(base: Base, grafts: list[Graft], plan: str, sentence: str):
    with pytest.raises(PlanError) as refused:
        attach(base, plan, grafts=grafts)
    assert str(refused.value) == sentence
    assert base.in_force == []


def test_rows_that_do_not_fit_are_refused(base: Base, grafts: list[Graft]):
    with attach(base, "route(a, none)", grafts=grafts) as attachment:
        for rows in ([0, 1], [0, 1, 2], [0, -1, 1]):
            with pytest.raises(OptionError) as refused:
                attachment.run(*make_batch(), rows=rows)
            assert str(refused.value) == (
                f"A batch of 3 rows came with the members {rows} of a plan that has 2. Expected a number from 0 to 1 "
                "for each row. Correct `rows`."
            )


def test_rows_that_change_weights_are_not_trained_among_others(base: Base, grafts: list[Graft]):
    with attach(base, "route(a, edit)", grafts=grafts) as attachment, pytest.raises(PlanError) as refused:
        attachment.run(*make_batch(), rows=[0, 1, 0])
    assert str(refused.value) == (
        "The plan 'route(a, edit)' was to train 'edit' in a batch of several ways, and a graft of it changes the "
        "base's own weights, which are what they were again before the gradients come. Train it by itself."
    )
    assert base.compute_fingerprint() == base.fingerprint


def test_routed_rows_train_their_own_grafts_as_alone(base: Base, grafts: list[Graft]):
    batch = make_batch()
    chosen = {graft.name: graft for graft in grafts if graft.name in {"a", "top", "b"}}
    for graft in chosen.values():
        graft.layers.zero_grad()
    weights = (
        torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(3)) * batch.attention_mask[..., None]
    )
    with attach(base, "route(stack(a, top), b)", grafts=grafts) as attachment:
        (attachment.run(*batch, rows=[0, 1, 0]) * weights).sum().backward()
    routed = {
        name: [value.grad.clone() for value in graft.layers.parameters()] for name, graft in chosen.items()
    }
    for graft in chosen.values():
        graft.layers.zero_grad()
    for way, rows in (("stack(a, top)", [0, 2]), ("b", [1])):
        with attach(base, way, grafts=grafts) as attachment:
            (
                attachment.run(batch.input_ids[rows], batch.attention_mask[rows]) * weights[rows]
            ).sum().backward()
    for name, graft in chosen.items():
        for value, own in zip(graft.layers.parameters(), routed[name], strict=True):
            assert torch.allclose(value.grad, own, atol=1e-5 * max(1.0, own.abs().max().item()))
        graft.layers.zero_grad()


def test_two_grafts_of_one_name_are_refused(base: Base, grafts: list[Graft]):
    with pytest.raises(PlanError) as refused:
        attach(base, "a", grafts=[*grafts, rename(grafts, "b", "a")])
    assert str(refused.value) == (
        f"Two of the {len(grafts) + 1} grafts given are called 'a', and a plan could mean either. Expected a name of "
        "its own for each. Rename one, or leave it out."
    )
