"""Keys and values that grafts put before those of the tokens, in the attention of a base.

transformers looks up the function that computes attention by a name in the configuration. As long as the plan is in
force, the attention layers of the base have a copy of their configuration with a name of the attachment's own, under
which that function stands; both are taken away again.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from polygraft.attach.tree import Tree, list_stacked
from polygraft.base.attention import NAME as SHORT
from polygraft.base.attention import SDPA, find_attention, looks_back_only
from polygraft.errors import GraftError
from polygraft.parts.reach import AttentionLayers

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polygraft.attach.depth import Place
    from polygraft.attach.passes import Pass
    from polygraft.base.base import Base

EAGER = "eager"
"""What transformers calls attention that is written out; each of its files has its own."""


class PrefixHooks:
    """The prefixes of one attachment.

    Args:
        base: The base.
        members: What each row may go through.
        current: Gives the pass in progress.
    """

    def __init__(
        self,
        base: Base,
        members: Sequence[Tree | None],
        *,
        current: Callable[[], Pass],
    ) -> None:
        self.current = current
        self.places: set[Place] = set()
        self.changed: list[tuple[nn.Module, Any]] = []
        """Attention layers with the configuration that they had."""
        self.name = f"polygraft-{id(self):x}"
        self.stacked = [list_stacked(tree, AttentionLayers, what="prefix") for tree in members]
        layers = sorted(
            {layer for stacked in self.stacked for found in stacked for layer in found.list_layers()}
        )
        if not layers:
            return
        self.places = {(layer, "prefix") for layer in layers}
        self.layer_of = {_find_attention(base, layer): layer for layer in layers}
        config: Any = base.model.config
        own: str = config._attn_implementation
        if own not in {EAGER, SDPA, SHORT}:
            raise GraftError(
                f"The base '{base.name}' computes its attention by '{own}', whose masks cannot be made longer for a "
                f"prefix. Expected '{SDPA}' or '{EAGER}'. Load the base with one of these."
            )
        self.compute = None if own == EAGER else ALL_ATTENTION_FUNCTIONS[own]
        ALL_ATTENTION_FUNCTIONS[self.name] = self._attend
        for attention in self.layer_of:
            config = attention.config
            self.changed.append((attention, config))
            renamed = copy.copy(config)
            renamed._attn_implementation_internal = self.name
            attention.config = renamed

    def remove(self) -> None:
        """Give the attention layers their configuration back. Safe to call twice."""
        for attention, config in self.changed:
            attention.config = config
        if self.changed:
            del ALL_ATTENTION_FUNCTIONS[self.name]
        self.changed.clear()

    def _attend(
        self, attention: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **named: Any
    ) -> Any:
        """Compute attention as transformers would, with k and v [B, H, T, d] behind the prefixes."""
        layer = self.layer_of[attention]
        current = self.current()
        current.reached.add((layer, "prefix"))
        compute = self.compute or vars(sys.modules[type(attention).__module__])["eager_attention_forward"]
        prefixes = self._make_prefixes(layer, k, v, num_rows=len(q))
        if prefixes is None:
            return compute(attention, q, k, v, mask, **named)
        keys, values, lengths = prefixes
        is_causal = looks_back_only(attention, named)
        if mask is None and (is_causal or len(set(lengths)) > 1):
            mask = _make_mask(q, k, is_causal=is_causal, is_added=self.compute is None)
        if mask is not None:
            mask = _extend(mask, lengths=lengths, most=keys.shape[2])
        k, v = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
        return compute(attention, q, k, v, mask, **named)

    def _make_prefixes(
        self, layer: int, k: Tensor, v: Tensor, *, num_rows: int
    ) -> tuple[Tensor, Tensor, list[int]] | None:
        """Give the keys and values [B, H, P, d] of all rows, P that of the longest, and each row's own P."""
        current = self.current()
        if current.segments is None:
            owners = [(current.member, num_rows)]
        else:
            owners = [(segment.member, segment.stop - segment.start) for segment in current.segments]
        made: list[tuple[Tensor, Tensor] | None] = [
            self._make_prefix(layer, owner, k, v) for owner, _ in owners
        ]
        own = [0 if prefix is None else prefix[0].shape[1] for prefix in made]
        most = max(own)
        if most == 0:
            return None
        lengths = [length for length, (_, count) in zip(own, owners, strict=True) for _ in range(count)]
        both: list[Tensor] = []
        for index, x in enumerate((k, v)):
            runs: list[Tensor] = []
            for prefix, (_, count) in zip(made, owners, strict=True):
                run = x.new_zeros(x.shape[1], most, x.shape[3])
                if prefix is not None:
                    # At the end, so that the masked places stand before it.
                    run = functional.pad(prefix[index], (0, 0, most - prefix[index].shape[1], 0))
                runs.append(run[None].expand(count, -1, -1, -1))
            both.append(runs[0] if len(runs) == 1 else torch.cat(runs))
        return both[0], both[1], lengths

    def _make_prefix(self, layer: int, member: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor] | None:
        found = [layers for layers in self.stacked[member] if layer in layers.list_layers()]
        if not found:
            return None
        pairs = [layers.make_prefix(layer) for layers in found]
        return tuple(  # pyright: ignore[reportReturnType] (there are two)
            torch.cat([pair[index] for pair in pairs])
            .to(x.dtype)
            .unflatten(-1, (x.shape[1], x.shape[3]))
            .transpose(0, 1)
            for index, x in enumerate((k, v))
        )


def _make_mask(q: Tensor, k: Tensor, *, is_causal: bool, is_added: bool) -> Tensor:
    """Give the mask [1, 1, Tq, T] of a batch without padding: what is seen, or what is added to the scores."""
    sees = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
    sees = sees.tril(k.shape[2] - q.shape[2]) if is_causal else sees
    return (_make_added(sees, dtype=q.dtype) if is_added else sees)[None, None]


def _make_added(sees: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Give what is added to the scores: nothing where a token is seen, and the lowest number elsewhere."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def _extend(mask: Tensor, *, lengths: Sequence[int], most: int) -> Tensor:
    """Give the mask [B, 1, Tq, most + T] that lets each row see its own prefix, from that of the tokens."""
    own = torch.tensor(lengths, device=mask.device)
    sees = torch.arange(most, device=mask.device) >= most - own[:, None]
    added = sees if mask.dtype == torch.bool else _make_added(sees, dtype=mask.dtype)
    mask = mask.expand(len(lengths), -1, -1, -1)
    added = added[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
    return torch.cat([added, mask], dim=-1)


def _find_attention(base: Base, layer: int) -> nn.Module:
    """Find the layer of the base that asks transformers for its attention function."""
    family, found = base.sites.family, find_attention(base.sites.layers[layer])
    if found is not None:
        return found
    raise GraftError(
        f"The base '{base.name}' computes its attention by itself, as all of the family '{family.name}' do, so no "
        "keys and values can be put before its own. Expected a family whose attention goes through transformers' "
        "common function. Take another part, such as lora or bottleneck."
    )
