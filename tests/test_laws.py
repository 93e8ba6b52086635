"""The laws that every part keeps on every family of bases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.reference import bare_copy, compute_hidden
from tests.tiny import BASES, make_base, make_batch, make_model, make_trained_graft
from torch import Tensor, nn

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.graft import Graft, copy_tensors, make_graft, rebuild_graft
from polygraft.attach.merge import merge
from polygraft.base.base import Base
from polygraft.errors import FingerprintError, GraftError
from polygraft.parts.bitfit import BitFit
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.delta import Delta
from polygraft.parts.glow import Glow
from polygraft.parts.head import Head
from polygraft.parts.ia3 import IA3
from polygraft.parts.invertible import Invertible
from polygraft.parts.lora import Lora
from polygraft.parts.mask import Mask
from polygraft.parts.part import Part
from polygraft.parts.prefix import Prefix
from polygraft.parts.presets import mam_graft
from polygraft.parts.prompt import Prompt
from polygraft.parts.scores import Scores
from polygraft.parts.table import PARTS
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store
from polygraft.types import TEXT_OBJECTIVES

LABELS = ("O", "B-LOC", "I-LOC")
GRAFTS: Mapping[str, Sequence[Part]] = {
    "ffn": [Bottleneck(reduction=2)],
    "houlsby": [Bottleneck(reduction=4, placement="attention+ffn", activation="gelu")],
    "parallel": [Bottleneck(reduction=4, placement="parallel", semantics="paper")],
    "invertible": [Invertible(reduction=2)],
    "tokens": [Head(objective="tokens", labels=LABELS)],
    "sequence": [Head(objective="sequence", labels=LABELS, layer=2)],
    "mlm": [Head(objective="mlm", layer=2)],
    "causal": [Head(objective="causal", layer=2)],
    "language": [Bottleneck(reduction=2, skip_layers=(-1,)), Invertible(reduction=2)],
    "task": [Bottleneck(reduction=8), Head(objective="tokens", labels=LABELS)],
    "lora": [Lora(rank=2)],
    "dora-task": [
        Lora(rank=4, rslora=True, dora=True, roles=("key", "output", "up"), skip_layers=(-1,)),
        Head(objective="tokens", labels=LABELS),
    ],
    "ia3": [IA3()],
    "ia3-task": [
        IA3(outputs=("key", "value", "up"), inputs=()),
        Head(objective="tokens", labels=LABELS),
    ],
    # Some families have no biases.
    "bitfit": [BitFit(weights=("norm",))],
    "bitfit-task": [BitFit(weights=("norm",), skip_layers=(0,)), Head(objective="tokens", labels=LABELS)],
    "delta": [Delta(weights=("linear", "norm"))],
    "delta-task": [Delta(skip_layers=(0,)), Head(objective="tokens", labels=LABELS)],
    "mask": [Mask()],
    "scores": [Scores()],
    "learned-scale": [Bottleneck(reduction=4, placement="parallel", scaling="learned")],
    "compacter": [Compacter(reduction=4, terms=2)],
    "compacter-full": [Compacter(reduction=2, terms=4, rank=None, shared=False, placement="ffn")],
    "glow": [Glow(reduction=1)],
    "prefix": [Prefix(length=5, reparameterization=6)],
    "prefix-values": [Prefix(length=3, reparameterization=None, skip_layers=(0,))],
    "prompt": [Prompt(length=4)],
    "prompt-language": [Prompt(length=2), Invertible(reduction=2)],
    "mam": mam_graft(labels=LABELS, length=2, reduction=4),
}
"""Parts alone and together; a new part gets a row."""

NEVER_NEUTRAL = ("prefix", "prefix-values", "prompt", "prompt-language", "mam")
"""Grafts that change something as soon as they are there: whatever stands before a text takes its share of the
attention, even keys and values of zeros."""

MERGED = {"lora", "ia3", "bitfit", "delta", "mask"}
"""The parts that can stand in the base's weights."""

every_base = pytest.mark.parametrize("family", BASES)
every_graft = pytest.mark.parametrize("kind", GRAFTS)


def list_pairs(kinds: Iterable[str] = GRAFTS) -> list[tuple[str, str]]:
    """Every base with every graft that can act on it: DeBERTa's attention takes no prefix."""
    return [
        (family, kind)
        for family in BASES
        for kind in kinds
        if not (family.startswith("deberta") and any(part.kind == "prefix" for part in GRAFTS[kind]))
    ]


every_pair = pytest.mark.parametrize(("family", "kind"), list_pairs())


def run(attachment: Attachment) -> list[Tensor]:
    """Everything that an attachment can compute from a padded batch."""
    batch = make_batch()
    hidden = attachment.run(*batch)
    pieces = batch.attention_mask == 1
    outputs = [hidden[pieces], attachment.run(*batch, layer=2)[pieces]]
    x, weight, bias = attachment.prepare_decoding(outputs[-1])
    outputs.append(x @ weight.T if bias is None else x @ weight.T + bias)
    if any(graft.labels for graft in attachment.grafts):
        scores = attachment.score(*batch)
        outputs.append(scores if scores.dim() == 2 else scores[pieces])
    return outputs


def describe(base: Base) -> dict[str, object]:
    """Everything of a base that an attachment must leave as it was."""
    layers = dict(base.model.named_modules())
    return {
        "classes": {name: type(layer) for name, layer in layers.items()},
        "layers": {name: id(layer) for name, layer in layers.items()},
        "own attributes": {name: sorted(vars(layer)) for name, layer in layers.items()},
        "hooks": {
            name: [list(layer._forward_hooks), list(layer._forward_pre_hooks), list(layer._backward_hooks)]
            for name, layer in layers.items()
        },
        "keys": list(base.model.state_dict()),
        "weights": {name: weight.data_ptr() for name, weight in base.model.named_parameters()},
        "frozen": [weight.requires_grad for weight in base.model.parameters()],
        "fingerprint": base.compute_fingerprint(),
    }


def attach_one(base: Base, graft: Graft) -> Attachment:
    return attach(base, graft.name, grafts=[graft])


def test_every_part_of_the_table_has_its_laws():
    # A fusion does nothing by itself: tests/attach/test_combined.py has its own.
    assert {part.kind for parts in GRAFTS.values() for part in parts} == set(PARTS) - {"fusion"}


@pytest.mark.parametrize(
    ("family", "kind"), list_pairs(kind for kind in GRAFTS if kind not in {*TEXT_OBJECTIVES, *NEVER_NEUTRAL})
)
@torch.no_grad()
def test_a_fresh_graft_changes_nothing(family: str, kind: str):
    base = make_base(family)
    with attach(base, None) as attachment:
        before = run(attachment)
    with attach_one(base, make_graft(base, kind, GRAFTS[kind])) as attachment:
        after = run(attachment)
    # The inverse of a fresh invertible part adds and takes away zero, so all is equal bit for bit.
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=False))


@pytest.mark.parametrize(("family", "kind"), list_pairs(NEVER_NEUTRAL))
@torch.no_grad()
def test_a_fresh_graft_that_is_never_neutral_changes_something(family: str, kind: str):
    # The law above does not hold for these, and this one keeps the list of them honest.
    base = make_base(family)
    with attach(base, None) as attachment:
        before = run(attachment)
    with attach_one(base, make_graft(base, kind, GRAFTS[kind])) as attachment:
        after = run(attachment)
    assert all((ours - theirs).abs().max() > 0 for ours, theirs in zip(after, before, strict=False))


@every_pair
@torch.no_grad()
def test_removing_a_graft_restores_the_base_bit_for_bit(family: str, kind: str):
    base = make_base(family)
    described = describe(base)
    with attach(base, None) as attachment:
        before = run(attachment)
    with attach_one(base, make_trained_graft(base, kind, GRAFTS[kind])) as attachment:
        during = run(attachment)
    assert describe(base) == described
    with attach(base, None) as attachment:
        after = run(attachment)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert any(not torch.equal(*pair) for pair in zip(before, during, strict=False)) or len(during) > len(
        before
    )


@pytest.mark.parametrize(("family", "kind"), list_pairs(kind for kind in GRAFTS if kind != "mask"))
def test_only_the_graft_learns_and_the_base_stays(family: str, kind: str):
    base = make_base(family)
    graft = make_graft(base, kind, GRAFTS[kind])
    before = {name: tensor.detach().clone() for name, tensor in graft.layers.named_parameters()}
    optimiser = torch.optim.AdamW(graft.layers.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        with attach_one(base, graft) as attachment:
            optimiser.zero_grad()
            sum(output.square().sum() for output in run(attachment)).backward()
        optimiser.step()
    assert base.compute_fingerprint() == base.fingerprint
    assert [name for name, weight in base.model.named_parameters() if weight.grad is not None] == []
    assert [weight for weight in base.head.parameters() if weight.grad is not None] == []
    values = dict(graft.layers.named_parameters())
    assert [name for name, tensor in before.items() if torch.equal(values[name], tensor)] == []


@every_base
def test_a_graft_that_is_not_in_the_plan_gets_no_gradient(family: str):
    base = make_base(family)
    qu, ner = (make_graft(base, name, GRAFTS["language"]) for name in ("qu", "ner"))
    with attach(base, "qu", grafts=[qu, ner]) as attachment:
        attachment.run(*make_batch()).sum().backward()
    assert all(weight.grad is None for weight in ner.layers.parameters())
    assert any(weight.grad is not None for weight in qu.layers.parameters())


@every_pair
@torch.no_grad()
def test_a_graft_that_went_through_a_store_computes_the_same(family: str, kind: str, tmp_path: Path):
    base = make_base(family)
    graft = make_trained_graft(base, kind, GRAFTS[kind])
    manifest = Manifest(
        name=graft.name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
        tokenizer=base.tokenizer_fingerprint,
        created="2026-01-31T12:00:00+00:00",
    )
    store = Store(tmp_path / "store")
    with attach_one(base, graft) as attachment:
        before = run(attachment)
    written = [store.put(manifest, graft.tensors()) for _ in range(2)]
    with attach(base, graft.name, store=store) as attachment:
        after = run(attachment)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert written[0].sha256 == written[1].sha256
    assert written[0].num_parameters == graft.num_parameters


@every_base
@pytest.mark.parametrize(
    "kind", [kind for kind, parts in GRAFTS.items() if any(part.kind in MERGED for part in parts)]
)
@torch.no_grad()
def test_a_merged_graft_computes_what_an_attached_one_does_and_is_undone(family: str, kind: str):
    base = make_base(family)
    described = describe(base)
    graft = make_trained_graft(base, kind, GRAFTS[kind])
    with attach_one(base, graft) as attachment:
        attached = run(attachment)
    with merge(base, kind, grafts=[graft]) as attachment:
        assert attachment.hooks.places == set()
        merged = run(attachment)
    assert describe(base) == described
    assert all(
        (a - b).abs().max() < 1e-5 * max(1, b.abs().max()) for a, b in zip(merged, attached, strict=True)
    )


@every_graft
def test_tensors_that_do_not_fit_are_refused(kind: str):
    base = make_base("bert")
    graft = make_graft(base, "qu", GRAFTS[kind])
    tensors = graft.tensors()
    name = next(iter(tensors))
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    with pytest.raises(GraftError) as missing:
        copy_tensors(graft, rest)
    with pytest.raises(GraftError) as unknown:
        copy_tensors(graft, {**tensors, "zz": torch.zeros(1)})
    with pytest.raises(GraftError) as misshapen:
        copy_tensors(graft, {**tensors, name: torch.zeros(1, 2, 3)})
    num, shape = len(tensors), list(tensors[name].shape)
    assert str(missing.value) == (
        f"The graft 'qu' lacks the tensor '{name}' (1 missing in all, of {num}). All tensors of its parts "
        "were expected."
    )
    assert str(unknown.value) == (
        f"The graft 'qu' has a tensor 'zz' that its parts do not know (1 such in all). Its parts have {num} tensors, "
        "and no others were expected."
    )
    assert str(misshapen.value) == (
        f"The tensor '{name}' of the graft 'qu' has the shape [1, 2, 3] where {shape} was expected. The graft was "
        "made for a base of other sizes."
    )


@every_base
def test_a_graft_of_another_base_is_refused(family: str):
    base, other = make_base(family), make_base(family, seed=1)
    graft = make_graft(base, "qu", GRAFTS["language"])
    manifest = Manifest(
        name="qu",
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
        tokenizer=base.tokenizer_fingerprint,
        created="2026-01-31T12:00:00+00:00",
    )
    with pytest.raises(FingerprintError, match="was trained on another base"):
        rebuild_graft(other, manifest, graft.tensors())
    with pytest.raises(FingerprintError, match="was made for another base"):
        attach_one(other, graft)


BOTTLENECKS = st.builds(
    Bottleneck,
    reduction=st.sampled_from([1, 2, 3, 16]),
    activation=st.sampled_from(["relu", "gelu", "swish", "tanh"]),
    placement=st.sampled_from(["ffn", "attention+ffn", "parallel"]),
    semantics=st.sampled_from(["adapterhub", "paper"]),
    scaling=st.sampled_from([None, 0.5, 2.0, "learned"]),
    skip_layers=st.sampled_from([(), (0,), (-1,), (0, 1)]),
)
INVERTIBLES = st.builds(
    Invertible, reduction=st.sampled_from([1, 2]), activation=st.sampled_from(["relu", "tanh"])
)
COMPACTERS = st.builds(
    Compacter,
    reduction=st.sampled_from([1, 2, 4]),
    terms=st.sampled_from([1, 2, 4]),
    rank=st.sampled_from([1, 2, None]),
    shared=st.booleans(),
    activation=st.sampled_from(["relu", "gelu"]),
    placement=st.sampled_from(["ffn", "attention+ffn"]),
    skip_layers=st.sampled_from([(), (0,), (-1,)]),
)
PREFIXES = st.builds(
    Prefix,
    length=st.integers(1, 5),
    reparameterization=st.sampled_from([None, 3]),
    activation=st.sampled_from(["relu", "tanh"]),
    skip_layers=st.sampled_from([(), (0,), (-1,), (0, 1)]),
)
# The roles that every family has.
ROLES = st.lists(
    st.sampled_from(["query", "key", "value", "output", "up", "down"]), min_size=1, max_size=3, unique=True
).map(tuple)
SKIPPED = st.sampled_from([(), (0,), (-1,)])
LORAS = st.builds(
    Lora,
    rank=st.sampled_from([1, 3, 8]),
    alpha=st.sampled_from([1.0, 4.0]),
    roles=ROLES,
    skip_layers=SKIPPED,
    rslora=st.booleans(),
    dora=st.booleans(),
)
IA3S = st.builds(
    IA3,
    outputs=ROLES,
    inputs=st.sampled_from([(), ("down",), ("output", "down")]),
    skip_layers=SKIPPED,
)
ALONE = st.one_of(BOTTLENECKS, COMPACTERS, PREFIXES, LORAS, IA3S, st.just(BitFit(weights=("norm",))))
STACKS = st.lists(
    st.one_of(
        ALONE.map(lambda part: [part]),
        st.tuples(BOTTLENECKS, INVERTIBLES).map(list),
        st.tuples(PREFIXES, BOTTLENECKS).map(list),
    ),
    min_size=1,
    max_size=3,
)
MODELS: dict[str, tuple[nn.Module, Base]] = {}


@settings(max_examples=90, deadline=None)
@given(family=st.sampled_from(list(BASES)), parts=STACKS, seed=st.integers(0, 99))
@torch.no_grad()
def test_any_stack_gives_what_its_formulas_say(family: str, parts: list[list[Part]], seed: int):
    if family not in MODELS:
        MODELS[family] = (bare_copy(make_model(family).base_model), make_base(family))
    model, base = MODELS[family]
    assume(
        not family.startswith("deberta") or not any(isinstance(part, Prefix) for row in parts for part in row)
    )
    grafts = [
        make_trained_graft(base, f"g{index}", row, seed=seed + index) for index, row in enumerate(parts)
    ]
    batch = make_batch(lengths=(4, 7), seed=seed)
    plan = f"stack({', '.join(graft.name for graft in grafts)})"
    with attach(base, plan, grafts=grafts) as attachment:
        hidden = attachment.run(*batch)
    expected = compute_hidden(model, grafts, *batch)
    difference = ((hidden - expected) * batch.attention_mask[..., None]).abs().max()
    assert difference < 1e-5 * max(1.0, expected.abs().max().item())
