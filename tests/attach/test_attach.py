"""Attaching, running and refusing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.tiny import make_base, make_batch, make_model, make_tokenizer, make_trained_graft

from polygraft.attach.attach import attach
from polygraft.attach.graft import make_graft
from polygraft.attach.plan import stack
from polygraft.base.base import Base
from polygraft.base.load import freeze_base
from polygraft.errors import FingerprintError, GraftError, OptionError, PlanError
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.presets import language_graft, task_graft
from polygraft.store.manifest import BaseRecord, Manifest, PartRecord
from polygraft.store.store import Store


@pytest.fixture
def base() -> Base:
    return make_base("bert")


def count_hooks(base: Base) -> int:
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in base.model.modules())


def put(store: Store, base: Base, name: str, *, seed: int) -> None:
    graft = make_trained_graft(base, name, language_graft(), seed=seed)
    manifest = Manifest(
        name=name,
        parts=tuple(PartRecord(kind=part.kind, options=part.to_options()) for part in graft.parts),
        base=BaseRecord(name=base.name, fingerprint=base.fingerprint, revision=None),
        tokenizer=base.tokenizer_fingerprint,
        created="2026-01-31T12:00:00+00:00",
    )
    store.put(manifest, graft.tensors())


@torch.no_grad()
def test_grafts_come_from_memory_first_and_then_from_the_store(base: Base, tmp_path: Path):
    store = Store(tmp_path / "store")
    put(store, base, "qu", seed=1)
    put(store, base, "qu", seed=2)
    memory = make_trained_graft(base, "qu", language_graft(), seed=3)
    batch, outputs = make_batch(), {}
    for plan, grafts in (("qu@1", ()), ("qu@2", ()), ("qu", ()), ("qu", (memory,)), ("qu@2", (memory,))):
        with attach(base, plan, grafts=grafts, store=store) as attachment:
            outputs[plan, len(grafts)] = attachment.run(*batch)
    assert torch.equal(outputs["qu", 0], outputs["qu@2", 0])
    assert torch.equal(outputs["qu@2", 1], outputs["qu@2", 0])
    assert (outputs["qu@1", 0] - outputs["qu", 0]).abs().max() > 0.01
    assert (outputs["qu", 1] - outputs["qu", 0]).abs().max() > 0.01


def test_a_stored_graft_does_not_train(base: Base, tmp_path: Path):
    store = Store(tmp_path / "store")
    put(store, base, "qu", seed=1)
    with attach(base, "qu", store=store) as attachment:
        (graft,) = attachment.grafts
        assert not any(tensor.requires_grad for tensor in graft.layers.parameters())
        assert graft.manifest.version == 1


def test_a_name_that_is_nowhere_is_refused(base: Base, tmp_path: Path):
    store = Store(tmp_path / "store")
    put(store, base, "ner", seed=1)
    with pytest.raises(PlanError) as refusal:
        attach(base, "stack(qu, nre)", grafts=[make_graft(base, "qu", language_graft())], store=store)
    assert str(refusal.value) == (
        f"The plan 'stack(qu, nre)' names 'nre', which is not in the store {store.folder}. Did you mean 'ner'? There "
        f"are ner, qu. `polygraft grafts list --store {store.folder}` shows all 2."
    )
    with pytest.raises(PlanError) as nowhere:
        attach(base, "xx")
    assert str(nowhere.value) == (
        "The plan 'xx' names 'xx', which is not among the grafts given. There is none. Give it in `grafts`, or name "
        "its store."
    )


def test_the_usual_store_is_named_and_its_command_needs_no_option(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POLYGRAFT_STORE", str(tmp_path / "usual"))
    with pytest.raises(PlanError) as refusal:
        attach(base, "ner", store=Store(tmp_path / "usual"))
    assert str(refusal.value) == (
        f"The plan 'ner' names 'ner', which is not among the grafts. The store {tmp_path / 'usual'} is not there. A "
        "folder of grafts was expected. Check the path, or name another with --store; `polygraft quickstart` and "
        "`polygraft run` make a store."
    )
    for folder, option in (("usual", ""), ("a folder", f" --store '{tmp_path / 'a folder'}'")):
        put(Store(tmp_path / folder), base, "qu", seed=1)
        with pytest.raises(PlanError) as listed:
            attach(base, "ner", store=Store(tmp_path / folder))
        assert str(listed.value).endswith(f"There are qu. `polygraft grafts list{option}` shows all 1.")


def test_two_plans_at_once_are_refused_and_the_first_stays(base: Base):
    grafts = [make_graft(base, name, language_graft()) for name in ("qu", "en")]
    with attach(base, stack("qu", "en"), grafts=grafts) as attachment:
        before = count_hooks(base)
        with pytest.raises(PlanError) as refusal:
            attach(base, "qu", grafts=grafts)
        assert str(refusal.value) == (
            "The base 'tiny-bert' has a plan in force already: stack(qu, en). Two plans at once would change each "
            "other. Call `remove()` on it first, or stack the grafts in one plan."
        )
        assert count_hooks(base) == before
        assert base.in_force == [attachment]
    assert count_hooks(base) == 0


def test_removing_twice_is_as_good_as_once(base: Base):
    first = attach(base, "qu", grafts=[make_graft(base, "qu", language_graft())])
    first.remove()
    second = attach(base, None)
    first.remove()
    assert base.in_force == [second]
    second.remove()
    assert base.in_force == []


def test_an_exception_inside_takes_the_plan_off(base: Base):
    graft = make_graft(base, "qu", language_graft())
    with pytest.raises(KeyboardInterrupt), attach(base, "qu", grafts=[graft]):
        raise KeyboardInterrupt
    assert count_hooks(base) == 0
    assert base.in_force == []


def test_a_graft_that_cannot_be_hooked_leaves_nothing_behind(base: Base):
    deeper = make_graft(make_base("bert", num_hidden_layers=5), "deep", language_graft())
    with pytest.raises(GraftError) as refusal:
        attach(base, "deep", grafts=[deeper], any_base=True)
    assert str(refusal.value) == (
        "A graft of the plan stands in layer 3, and the base 'tiny-bert' has the layers 0 to 2. The graft was made "
        "for a base of more layers. Load the base it was made for."
    )
    assert count_hooks(base) == 0
    assert base.in_force == []


def test_a_pass_that_failed_does_not_spoil_the_next(base: Base):
    graft, batch = make_trained_graft(base, "qu", language_graft()), make_batch()
    with torch.no_grad(), attach(base, "qu", grafts=[graft]) as attachment:
        before = attachment.run(*batch)
        with pytest.raises(IndexError):
            attachment.run(batch.input_ids + 1000, batch.attention_mask)
        assert torch.equal(attachment.run(*batch), before)


def test_a_graft_of_another_base_in_memory_is_refused(base: Base):
    other = make_base("bert", seed=1)
    graft = make_graft(other, "qu", language_graft())
    with pytest.raises(FingerprintError) as refusal:
        attach(base, "qu", grafts=[graft])
    assert str(refusal.value) == (
        f"Graft 'qu' was made for another base: that one's fingerprint is {other.fingerprint[:8]}, 'tiny-bert' has "
        f"{base.fingerprint[:8]}. Attach it to its own base, or pass any_base=True to try it all the same."
    )
    with attach(base, "qu", grafts=[graft], any_base=True) as attachment:
        assert attachment.run(*make_batch()).shape == (3, 9, 16)


def test_a_base_that_other_code_changed_is_noticed(base: Base):
    graft = make_graft(base, "qu", language_graft(skip_layers=[0]))
    with attach(base, "qu", grafts=[graft]) as attachment:
        base.model.encoder.layer[1].output.forward = lambda hidden, inp: inp
        with pytest.raises(GraftError) as refusal:
            attachment.run(*make_batch())
    assert str(refusal.value) == (
        "The forward pass never came by layer 1, ffn, where the plan 'qu' has a graft (1 places missed). The base was "
        "changed by other code. Load it anew."
    )


@pytest.mark.parametrize("layer", [0, 4, -2])
def test_a_pass_cannot_stop_where_no_layer_is(base: Base, layer: int):
    with attach(base, None) as attachment, pytest.raises(OptionError) as refusal:
        attachment.run(*make_batch(), layer=layer)
    assert str(refusal.value) == (
        f"A pass was to stop after {layer} layers, and the base 'tiny-bert' has 3. Expected -1 for all, or 1 to 3. "
        "Correct `layer`."
    )


def test_a_pass_that_stops_does_not_run_the_layers_above(base: Base):
    seen: list[int] = []
    for index, layer in enumerate(base.model.encoder.layer):
        layer.register_forward_hook(lambda *_, index=index: seen.append(index))
    with attach(base, None) as attachment:
        attachment.run(*make_batch(), layer=2)
    assert seen == [0, 1]


@torch.no_grad()
def test_a_head_scores_and_reads_its_own_layer_also_above_a_masked_lm_head(base: Base):
    labels = ("O", "B-LOC", "I-LOC")
    low = make_trained_graft(base, "low", [Head(objective="mlm")])
    high = make_trained_graft(base, "high", [Head(objective="tokens", labels=labels, layer=2)])
    batch = make_batch()
    with attach(base, "stack(low, high)", grafts=[low, high]) as attachment:
        expected = (
            attachment.run(*batch, layer=2) @ high.layers["head"].out.weight.T + high.layers["head"].out.bias
        )
        assert attachment.find_labels() == labels
        assert attachment.find_piece_head() == (low.layers["head"], -1)
        assert (attachment.score(*batch) - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("heads", "kind"),
    [
        (
            (Head(objective="tokens", labels=("a", "b")), Head(objective="sequence", labels=("c", "d"))),
            "labels",
        ),
        ((Head(objective="mlm"), Head(objective="mlm", layer=2)), "masked language modelling"),
    ],
)
def test_two_heads_of_a_kind_are_refused(base: Base, heads: tuple[Head, Head], kind: str):
    grafts = [make_graft(base, name, [head]) for name, head in zip(("low", "high"), heads, strict=True)]
    with pytest.raises(PlanError) as refusal:
        attach(base, "stack(low, high)", grafts=grafts)
    assert str(refusal.value) == (
        f"The plan 'stack(low, high)' has 2 heads for {kind}: those of low, high. One at most was expected, since only "
        "one can score. Leave the other grafts out."
    )
    assert base.in_force == []


def test_a_graft_twice_in_a_plan_is_refused(base: Base):
    with pytest.raises(PlanError, match=r"^The plan 'stack\(qu, qu\)' names 'qu' 2 times\."):
        attach(base, "stack(qu, qu)", grafts=[make_graft(base, "qu", language_graft())])
    assert count_hooks(base) == 0


def test_a_plan_without_a_head_cannot_score(base: Base):
    graft = make_graft(base, "qu", language_graft())
    with attach(base, "qu", grafts=[graft]) as attachment, pytest.raises(PlanError) as refusal:
        attachment.score(*make_batch())
    assert str(refusal.value) == (
        "The plan 'qu' has no head for tokens or sequences, so it cannot label anything. Expected a task graft in it, "
        "as in stack(qu, ner). Add one."
    )


def test_a_base_without_a_masked_lm_head_cannot_guess():
    base = make_base("bert", with_head=False)
    with attach(base, None) as attachment, pytest.raises(PlanError) as refusal:
        attachment.find_piece_head()
    assert str(refusal.value) == (
        "The plan 'no graft' has no masked-LM head, and the base 'tiny-bert' brings none. Expected a graft with one "
        "below the language graft, as in stack(mlm, qu). Train one first."
    )


@torch.no_grad()
def test_a_graft_s_masked_lm_head_comes_before_the_base_s_own(base: Base):
    graft = make_trained_graft(base, "mlm", [Head(objective="mlm", layer=2)])
    with attach(base, "mlm", grafts=[graft]) as attachment:
        head, layer = attachment.find_piece_head()
        _, weight, bias = attachment.prepare_decoding(torch.randn(4, 16))
    assert head is graft.layers["head"]
    assert layer == 2
    assert weight is base.sites.word_embeddings.weight
    assert bias is head.bias


@torch.no_grad()
def test_two_bottlenecks_in_one_graft_both_count(base: Base):
    graft = make_trained_graft(base, "two", [Bottleneck(reduction=2), Bottleneck(reduction=4)])
    first = dataclasses.replace(graft, name="first")
    assert list(graft.layers) == ["bottleneck", "bottleneck_2"]
    first.layers = torch.nn.ModuleDict({"bottleneck": graft.layers["bottleneck"]})
    second = dataclasses.replace(graft, name="second")
    second.layers = torch.nn.ModuleDict({"bottleneck": graft.layers["bottleneck_2"]})
    batch = make_batch()
    with attach(base, "two", grafts=[graft]) as attachment:
        together = attachment.run(*batch)
    with attach(base, "stack(first, second)", grafts=[first, second]) as attachment:
        assert torch.equal(attachment.run(*batch), together)


def test_a_task_graft_for_sequences_scores_rows(base: Base):
    graft = make_graft(base, "topic", task_graft(labels=("a", "b", "c"), objective="sequence", reduction=4))
    with attach(base, "topic", grafts=[graft]) as attachment:
        assert attachment.score(*make_batch()).shape == (3, 3)
        assert str(attachment) == "topic"


@torch.no_grad()
def test_float32_grafts_go_with_a_rounded_base():
    model, graft = (
        make_model("bert").base_model,
        make_trained_graft(make_base("bert"), "qu", language_graft()),
    )
    rounded = freeze_base(name="r", model=model, tokenizer=make_tokenizer(), dtype=torch.bfloat16)
    outputs = []
    for base in (make_base("bert"), rounded):
        with attach(base, "qu", grafts=[graft]) as attachment:
            outputs.append(attachment.run(*make_batch()))
    assert outputs[1].dtype == torch.bfloat16
    assert (outputs[0] - outputs[1].float()).abs().mean() < 0.05
