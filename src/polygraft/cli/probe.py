"""A probe of a plan: one forward pass with it, one before and one after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base

SENTENCE = "Mariya went from Lima to Cusco ."
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a base is and computes at one moment."""

    fingerprint: str
    keys: tuple[str, ...]
    classes: tuple[str, ...]
    num_hooks: int
    output: Tensor
    """Its last hidden state for the probe sentence, [1, T, D]."""


def take_picture(base: Base) -> Picture:
    """Hash a base's weights, list its layers and hooks, and run it bare."""
    from polygraft.attach.attach import attach

    layers = list(base.model.modules())
    with attach(base, None) as bare:
        output = _run(bare)
    return Picture(
        fingerprint=base.compute_fingerprint(),
        keys=tuple(base.model.state_dict()),
        classes=tuple(type(layer).__name__ for layer in layers),
        num_hooks=sum(len(vars(layer)[kind]) for layer in layers for kind in HOOKS),
        output=output,
    )


def probe_plan(attachment: Attachment, *, bare: Picture) -> list[dict[str, Any]]:
    """Run a plan on the probe sentence and say what was seen."""
    hidden = _run(attachment)
    num_places = len(attachment.hooks.places)
    change = float((hidden - bare.output).abs().mean() / bare.output.abs().mean())
    checks = [
        _check("the pass comes by every place", f"{num_places} places", is_good=True),
        _check("the outputs are numbers", f"{tuple(hidden.shape)}", is_good=bool(hidden.isfinite().all())),
        _check(
            "the grafts change the outputs",
            f"by {100 * change:.2g} % on average",
            is_good=change > 0 or num_places == 0,
        ),
    ]
    trainable = [name for name, weight in attachment.base.model.named_parameters() if weight.requires_grad]
    seen = "nothing of it trains" if not trainable else f"{trainable[0]} trains"
    return [*checks, _check("the base is frozen", seen, is_good=not trainable), *_check_head(attachment)]


def _check_head(attachment: Attachment) -> list[dict[str, Any]]:
    """Say whether the plan's uppermost head reads above every graft."""
    heads = [head for head in (graft.find_head() for graft in attachment.grafts) if head is not None]
    if not heads or heads[-1].options.layer == -1:
        return []
    layer = heads[-1].options.layer
    above = sum(place[0] >= layer for place in attachment.hooks.places)
    seen = f"{above} places above layer {layer}"
    return [_check("no graft stands above what the head reads", seen, is_good=above == 0)]


def check_removal(base: Base, *, before: Picture) -> list[dict[str, Any]]:
    """Say whether a base is again what it was, bit for bit."""
    import torch

    after = take_picture(base)
    same = {
        "removing it restores every weight": (before.fingerprint, after.fingerprint),
        "removing it restores names and classes": (
            (before.keys, before.classes),
            (after.keys, after.classes),
        ),
        "removing it takes every hook off": (before.num_hooks, after.num_hooks),
    }
    seen = {
        "removing it restores every weight": f"fingerprint {after.fingerprint[:8]}",
        "removing it restores names and classes": f"{len(after.keys)} names, {len(after.classes)} layers",
        "removing it takes every hook off": f"{after.num_hooks} hooks",
    }
    checks = [_check(name, seen[name], is_good=old == new) for name, (old, new) in same.items()]
    is_equal = torch.equal(before.output, after.output)
    return [
        *checks,
        _check("outputs are what they were", "bit for bit" if is_equal else "not equal", is_good=is_equal),
    ]


def _run(attachment: Attachment) -> Tensor:
    import torch

    encoded = attachment.base.tokenizer(SENTENCE, return_tensors="pt").to(attachment.base.device)
    with torch.inference_mode():
        return attachment.run(encoded["input_ids"], encoded["attention_mask"])


def _check(name: str, seen: str, *, is_good: bool) -> dict[str, Any]:
    return {"name": name, "seen": seen, "is_good": is_good}
