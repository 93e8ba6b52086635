"""Attention over short rows against its formula in double precision."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.tiny import make_base, make_batch, make_model
from torch import Tensor

from polygraft.base import attention as module
from polygraft.base.attention import MAX_LENGTH, NAME, attend, make_added
from polygraft.base.load import freeze_base

BOTH_WAYS: Any = SimpleNamespace(is_causal=False)
MASKS = ("none", "bool", "added", "blind")
ROWS, HEADS, SIZE = 3, 2, 8


def make_inputs(*, queries: int = 6, keys: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values as a base's layers make them, heads between rows and tokens; and an outer gradient."""
    chance = torch.Generator().manual_seed(5)

    def draw(length: int) -> Tensor:
        return torch.randn(ROWS, length, HEADS, SIZE, generator=chance).transpose(1, 2).requires_grad_()

    outer = torch.randn(ROWS, queries, HEADS, SIZE, generator=chance)
    return draw(queries), draw(keys), draw(keys), outer


def make_mask(kind: str, *, queries: int = 6, keys: int = 6) -> Tensor | None:
    """A mask [B, 1, Tq, Tk]."""
    if kind == "none":
        return None
    sees = torch.ones(ROWS, 1, queries, keys, dtype=torch.bool)
    sees[1, :, :, 4:] = False
    sees[2, :, :3, 0] = False
    if kind == "blind":
        sees[1, :, 2:4] = False
    if kind == "added":
        return torch.where(sees, torch.linspace(-1, 1, keys), -1e9)
    return sees


def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, scale: float) -> Tensor:
    """The formula, written out in double precision."""
    scores = q.double() @ k.double().transpose(2, 3) * scale
    if mask is None:
        weights = scores.exp()
    elif mask.dtype == torch.bool:
        weights = scores.exp() * mask
    else:
        weights = (scores + mask.double()).exp()
    sums = weights.sum(-1, keepdim=True)
    return ((weights / torch.where(sums > 0, sums, 1.0)) @ v.double()).transpose(1, 2)


def find_gradients(out: Tensor, inputs: tuple[Tensor, ...], outer: Tensor) -> list[Tensor]:
    return [out.detach(), *torch.autograd.grad(out, inputs, outer.to(out.dtype))]


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("keys", [6, 9])
@pytest.mark.parametrize("scaling", [None, 0.7])
def test_the_output_and_its_gradients_are_what_the_formula_gives(kind: str, keys: int, scaling: float | None):
    q, k, v, outer = make_inputs(keys=keys)
    mask = make_mask(kind, keys=keys)
    out, weights = attend(BOTH_WAYS, q, k, v, mask, scaling=scaling, dropout=0.0)
    assert weights is None
    assert out.is_contiguous()
    assert "ShortAttention" in type(out.grad_fn).__name__
    found = find_gradients(out, (q, k, v), outer)
    expected = compute(q, k, v, mask, scale=SIZE**-0.5 if scaling is None else scaling)
    wanted = find_gradients(expected, (q, k, v), outer)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-6)


def test_what_needs_no_gradient_gets_none():
    for wanted in range(3):
        q, k, v, outer = make_inputs()
        inputs = [x.detach().requires_grad_(number == wanted) for number, x in enumerate((q, k, v))]
        out, _ = attend(BOTH_WAYS, *inputs, make_mask("bool"))
        (found,) = torch.autograd.grad(out, inputs[wanted], outer)
        expected = compute(q, k, v, make_mask("bool"), scale=SIZE**-0.5)
        right = torch.autograd.grad(expected, (q, k, v), outer.double())[wanted]
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "case",
    [
        "long rows",
        "causal",
        "causal, said so",
        "fewer heads of keys",
        "another format",
        "values in another",
        "dropout",
        "a bias of positions",
    ],
)
def test_other_cases_are_left_to_the_usual_function(case: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, Any]] = []

    def note(*_: object, **named: Any) -> tuple[None, None]:
        asked.append(named)
        return None, None

    monkeypatch.setattr(module, "sdpa_attention_forward", note)
    length = MAX_LENGTH + 1 if case == "long rows" else 6
    q, k, v, _ = make_inputs(keys=length)
    if case == "values in another":
        v = v.bfloat16()
    if case == "fewer heads of keys":
        k, v = k[:, :1], v[:, :1]
    if case == "another format":
        q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    named: dict[str, Any] = {
        "causal, said so": {"is_causal": True},
        "dropout": {"dropout": 0.1},
        "a bias of positions": {"position_bias": torch.zeros(1, HEADS, 6, 6)},
    }.get(case, {})
    layer: Any = SimpleNamespace(is_causal=case == "causal")
    attend(layer, q, k, v, None, scaling=0.5, **named)
    assert asked == [{"scaling": 0.5, **named}]


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "electra", "distilbert", "modernbert", "eurobert"])
def test_a_base_takes_it_and_gives_what_it_would_give_without(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "sdpa_attention_forward", None)
    changes = {"num_key_value_heads": 2} if name == "eurobert" else {}
    base, plain, batch = (
        make_base(name, **changes),
        make_model(name, **changes).base_model.eval(),
        make_batch(),
    )
    assert base.model.config._attn_implementation == NAME
    assert plain.config._attn_implementation == "sdpa"
    with torch.no_grad():
        found, expected = (model(batch.input_ids, batch.attention_mask)[0] for model in (base.model, plain))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "dtype"), [("gpt2", None), ("llama", None), ("bert", torch.float16)])
def test_where_it_gains_nothing_a_base_keeps_its_own(name: str, dtype: torch.dtype | None):
    model: Any = make_model(name).base_model
    base = freeze_base(name=name, model=model, tokenizer=make_base(name).tokenizer, dtype=dtype)
    assert base.model.config._attn_implementation == "sdpa"


def test_products_that_are_rounded_on_the_way_are_left_to_the_usual_function():
    # The keys are turned in float32 there, the values are not.
    base, batch = make_base("eurobert", num_key_value_heads=2), make_batch()
    words = base.sites.word_embeddings(batch.input_ids).detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = base.model(inputs_embeds=words, attention_mask=batch.attention_mask)[0]
    hidden.float().square().sum().backward()
    assert words.grad is not None
    assert words.grad.abs().max() > 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Tensor]]:
    """What is made of masks."""
    found: list[weakref.ref[Tensor]] = []

    def make(mask: Tensor) -> tuple[Tensor, Tensor | None]:
        added, blind = make_added(mask)
        found.append(weakref.ref(added))
        return added, blind

    monkeypatch.setattr(module, "make_added", make)
    return found


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(("name", "num_masks"), [("bert", 1), ("modernbert", 2)])
def test_the_layers_of_a_pass_share_what_is_made_of_a_mask(
    name: str, num_masks: int, mode: Any, made: list[weakref.ref[Tensor]]
):
    base, batch = make_base(name), make_batch()
    assert base.sites.num_layers > num_masks
    for count in (1, 2):
        with mode():
            base.model(batch.input_ids, batch.attention_mask)
        assert len(made) == count * num_masks
        # Nothing of it outlives the pass.
        assert [added() for added in made] == [None] * len(made)


def test_a_mask_that_has_changed_is_another(made: list[weakref.ref[Tensor]]):
    q, k, v, _ = make_inputs()
    mask = make_mask("bool")
    assert mask is not None
    for count in (1, 2):
        for _ in range(2):
            out, _ = attend(BOTH_WAYS, q, k, v, mask)
            expected = compute(q, k, v, mask, scale=SIZE**-0.5)
            torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)
        assert len(made) == count
        mask[0, :, :, 2] = False


def test_passes_at_the_same_time_have_each_their_own_mask():
    q, k, v, _ = (x.detach() for x in make_inputs())
    masks = [
        torch.ones(ROWS, 1, 6, 6, dtype=torch.bool).index_fill(3, torch.tensor(i), False) for i in range(6)
    ]
    expected = [compute(q, k, v, mask, scale=SIZE**-0.5) for mask in masks]

    def attend_often(number: int) -> float:
        outs = [attend(BOTH_WAYS, q, k, v, masks[number].clone())[0] for _ in range(50)]
        outs += [attend(BOTH_WAYS, q, k, v, masks[(number + each) % 6])[0] for each in range(6)]
        right = [expected[number]] * 50 + [expected[(number + each) % 6] for each in range(6)]
        return max(float((out - want).abs().max()) for out, want in zip(outs, right, strict=True))

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(attend_often, range(6))) < 1e-5
