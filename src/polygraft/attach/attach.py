"""A plan in force on a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from polygraft.attach.depth import count_layers_below
from polygraft.attach.enter import enter_above
from polygraft.attach.graft import Graft, check_made_for, rebuild_graft
from polygraft.attach.hooks import Hooks, LayerReached, Pass, pick
from polygraft.attach.parse import parse_plan
from polygraft.attach.plan import Named, Plan, check_names, list_names
from polygraft.attach.weights import WeightEdits
from polygraft.errors import GraftError, OptionError, PlanError, nearest
from polygraft.parts.head import HeadLayers, PieceHeadLayers
from polygraft.parts.mask import Mask
from polygraft.types import TEXT_OBJECTIVES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from polygraft.base.base import Base
    from polygraft.base.pretrained_head import PretrainedHead
    from polygraft.store.store import Store

HEADS: Mapping[str, type[nn.Module]] = {"labels": HeadLayers, "masked language modelling": PieceHeadLayers}
"""The kinds of heads, of each of which a plan has one at most."""


class PieceHead(Protocol):
    """What a base's own head that scores pieces and a graft's have in common."""

    def transform(self, hidden: Tensor) -> Tensor:
        """Take hidden states [N, D] to the decoder's input [N, E]."""
        ...


class Attachment:
    """A plan in force on a base; `remove()` undoes it exactly.

    Example:
        >>> with attach(base, "stack(qu, ner)", store=store) as attachment:  # doctest: +SKIP
        ...     scores = attachment.score(input_ids, attention_mask)
    """

    def __init__(self, base: Base, plan: Plan | None, grafts: Sequence[Graft]) -> None:
        if base.in_force:
            held = base.in_force[0]
            raise PlanError(
                f"The base '{base.name}' has a plan in force already: {held}. Two plans at once would "
                "change each "
                "other. Call `remove()` on it first, or stack the grafts in one plan."
            )
        self.base = base
        self.plan = plan
        self.grafts = tuple(grafts)
        self.edits = WeightEdits(base, self.grafts)
        try:
            self.hooks = Hooks(base, self.grafts)
        except BaseException:
            self.edits.remove()
            raise
        base.in_force.append(self)

    def __str__(self) -> str:
        return "no graft" if self.plan is None else str(self.plan)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the plan off the base, which is then what it was, bit for bit. Safe to call twice."""
        self.hooks.remove()
        self.edits.remove()
        if self in self.base.in_force:
            self.base.in_force.remove(self)

    def run(
        self, input_ids: Tensor, attention_mask: Tensor, *, layer: int = -1, at: Tensor | None = None
    ) -> Tensor:
        """Compute hidden states.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            layer: After how many layers to stop; -1 runs all and gives the last hidden state.
            at: The only places that are asked for, [N], each `row * T + column`. For the others the last
                layer computes its attention and nothing behind it, where its norms come after the residual sums.

        Returns:
            [B, T, D], or [N, D] with `at`; what stands at padding has no meaning.

        Raises:
            OptionError: The base has no such layer.
            GraftError: The pass never came by a place where a graft stands.
        """
        return self._run(input_ids, attention_mask, layer=layer, start=0, at=at)

    def run_above(
        self,
        hidden: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        start: int,
        layer: int = -1,
        at: Tensor | None = None,
    ) -> Tensor:
        """Compute hidden states from those of a lower layer, as `run` does from the pieces.

        Args:
            hidden: What `run(..., layer=start)` gave for the same rows under the same grafts, [B, T, D].
            input_ids: The pieces, [B, T]; only their shape is looked at.
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            start: After how many layers `hidden` stands.
            layer: After how many layers to stop; -1 runs all and gives the last hidden state.
            at: The only places that are asked for, as for `run`.

        Returns:
            [B, T, D], or [N, D] with `at`; what stands at padding has no meaning.

        Raises:
            OptionError: The base has no such layer, or it stands below `start`.
            GraftError: The pass never came by a place where a graft stands.
        """
        num_layers = self.base.sites.num_layers
        if not 1 <= start <= (num_layers - 1 if layer == -1 else layer):
            raise OptionError(
                f"A pass was to go from the output of {start} layers to that of "
                f"{num_layers if layer == -1 else layer}, in a base of {num_layers}. Expected it to begin at 1 or "
                "above, and to end above that. Correct `start` or `layer`."
            )
        if layer == start:
            return hidden if at is None else pick(hidden, at)
        with enter_above(self.base, hidden, start=start):
            return self._run(input_ids, attention_mask, layer=layer, start=start, at=at)

    def _run(
        self, input_ids: Tensor, attention_mask: Tensor, *, layer: int, start: int, at: Tensor | None
    ) -> Tensor:
        num_layers = self.base.sites.num_layers
        if layer != -1 and not 1 <= layer <= num_layers:
            raise OptionError(
                f"A pass was to stop after {layer} layers, and the base '{self.base.name}' has "
                f"{num_layers}. Expected "
                f"-1 for all, or 1 to {num_layers}. Correct `layer`."
            )
        stop_after = None if layer == -1 else layer
        narrow_in = None if at is None else (num_layers if layer == -1 else layer) - 1
        # What a decoder would keep for pieces to come would be kept twice where layers are run again.
        named = {"use_cache": False} if self.base.sites.family.is_decoder else {}
        self.hooks.current = Pass(start=start, stop_after=stop_after, wanted=at, narrow_in=narrow_in)
        try:
            output = self.base.model(input_ids=input_ids, attention_mask=attention_mask, **named)
        except LayerReached:
            hidden = self.hooks.current.stopped
            assert hidden is not None
        else:
            hidden = output.last_hidden_state
        self._check_reached(start, stop_after)
        is_narrow, self.hooks.current = self.hooks.current.is_narrow, Pass()
        if at is None:
            return hidden
        return hidden[0] if is_narrow else pick(hidden, at)

    def identify_below(self, depth: int) -> tuple[object, ...]:
        """Give what identifies the function of the lowest layers: the base, and the grafts there with their values.

        Args:
            depth: The number of layers.
        """
        num_layers = self.base.sites.num_layers
        below = [graft for graft in self.grafts if count_layers_below(graft, num_layers=num_layers) < depth]
        # A tensor counts its changes itself.
        return self.base, *(
            (graft, sum(value._version for value in graft.layers.parameters())) for graft in below
        )

    def score(self, input_ids: Tensor, attention_mask: Tensor, *, at: Tensor | None = None) -> Tensor:
        """Score labels with the head of the graft that has one.

        Args:
            input_ids: Pieces, [B, T].
            attention_mask: 1 for pieces, 0 for padding, [B, T].
            at: The only tokens that are asked for, as for `run`; for heads that score tokens.

        Returns:
            [B, T, labels] for tokens, or [N, labels] with `at`; [B, labels] for sequences.

        Raises:
            PlanError: No graft of the plan has such a head.
        """
        head = self.find_head()
        places = head.find_places(attention_mask) if at is None else at
        return head(self.run(input_ids, attention_mask, layer=head.options.layer, at=places))

    def find_head(self) -> HeadLayers:
        """Give the head for tokens or sequences of the graft that has one.

        Raises:
            PlanError: There is none.
        """
        for graft in reversed(self.grafts):
            head = graft.find_head()
            if isinstance(head, HeadLayers):
                return head
        raise PlanError(
            f"The plan '{self}' has no head for tokens or sequences, so it cannot label anything. Expected "
            "a task "
            "graft in it, as in stack(qu, ner). Add one."
        )

    def find_labels(self) -> tuple[str, ...]:
        """Give the names of the labels that `score` scores."""
        return self.find_head().options.labels

    def find_piece_head(self) -> tuple[PieceHeadLayers | PretrainedHead, int]:
        """Give the head that scores pieces in force and the layer it reads: a graft's, else the base's own.

        Raises:
            PlanError: Neither the plan nor the base has one.
        """
        for graft in reversed(self.grafts):
            head = graft.find_head()
            if isinstance(head, PieceHeadLayers):
                return head, head.options.layer
        if self.base.head is not None:
            return self.base.head, -1
        raise PlanError(
            f"The plan '{self}' has no {TEXT_OBJECTIVES[self.base.guesses]} head, and the base '{self.base.name}' "
            "brings none. Expected a "
            "graft with one below the language graft, as in stack(mlm, qu). Train one first."
        )

    def find_decoder_weight(self) -> Tensor:
        """Give the weight [V, E] by which the head in force scores pieces."""
        head, _ = self.find_piece_head()
        return self.base.sites.word_embeddings.weight if isinstance(head, PieceHeadLayers) else head.weight

    def prepare_decoding(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take hidden states to the decoder: transform them, and undo the invertible parts.

        Args:
            selected: Hidden states of the layer that the head reads which scores pieces, [N, D].

        Returns:
            The decoder's input [N, E], its weight [V, E] and its bias [V] or None.
        """
        head, _ = self.find_piece_head()
        x = head.transform(selected)
        for graft in reversed(self.grafts):
            invertible = graft.find_invertible()
            if invertible is not None:
                x = invertible.invert(x)
        return x, self.find_decoder_weight(), head.bias

    def _check_reached(self, start: int, stop_after: int | None) -> None:
        limit = self.base.sites.num_layers if stop_after is None else stop_after
        expected = {place for place in self.hooks.places if start <= place[0] < limit}
        missed = sorted(expected - self.hooks.current.reached)
        if missed:
            layer, name = missed[0]
            raise GraftError(
                f"The forward pass never came by layer {layer}, {name}, where the plan '{self}' has a graft "
                f"({len(missed)} places missed). The base was changed by other code. Load it anew."
            )


def attach(
    base: Base,
    plan: Plan | str | None,
    *,
    grafts: Mapping[str, Graft] | Sequence[Graft] = (),
    store: Store | None = None,
    any_base: bool = False,
) -> Attachment:
    """Put a plan in force on a base.

    Args:
        base: The frozen base.
        plan: A plan, its text form, or None for the bare base.
        grafts: Grafts in memory that the plan may name; they come before the store's.
        store: Where the other grafts are.
        any_base: Whether to accept grafts of another base.

    Raises:
        PlanError: The plan cannot be read, names a graft that is nowhere or twice, or has two heads of a kind.
        FingerprintError: A graft was trained on another base.

    Example:
        >>> attachment = attach(base, "stack(qu, ner)", store=store)  # doctest: +SKIP
        >>> attachment.remove()  # doctest: +SKIP
    """
    wanted = parse_plan(plan) if isinstance(plan, str) else plan
    memory = grafts if isinstance(grafts, Mapping) else {graft.name: graft for graft in grafts}
    if wanted is None:
        return Attachment(base, None, ())
    check_names(wanted)
    names = list_names(wanted)
    found = [_find_graft(base, name, wanted, memory, store, any_base=any_base) for name in names]
    for kind, layers in HEADS.items():
        _check_heads(wanted, found, kind=kind, layers=layers)
    return Attachment(base, wanted, found)


def _check_heads(plan: Plan, grafts: Sequence[Graft], *, kind: str, layers: type[nn.Module]) -> None:
    headed = [graft for graft in grafts if isinstance(graft.find_head(), layers)]
    names = [graft.name for graft in headed]
    # A task that is packed over others needs their weights and not their heads: its own, the topmost, scores.
    if len(names) > 1 and not _is_packed(headed[-1]):
        raise PlanError(
            f"The plan '{plan}' has {len(names)} heads for {kind}: those of {', '.join(names)}. One at most was "
            "expected, since only one can score. Leave the other grafts out."
        )


def _is_packed(graft: Graft) -> bool:
    return any(isinstance(part, Mask) and part.retrained == "some" for part in graft.parts)


def _find_graft(
    base: Base,
    named: Named,
    plan: Plan,
    memory: Mapping[str, Graft],
    store: Store | None,
    *,
    any_base: bool,
) -> Graft:
    if named.name in memory and named.version is None:
        graft = memory[named.name]
        if not any_base:
            check_made_for(base, graft)
        return graft
    known = sorted({*memory, *(store.names() if store is not None else ())})
    if store is None or named.name not in known:
        place = "among the grafts given" if store is None else f"in the store {store.folder}"
        hint = f"There are {', '.join(known[:12])}." if known else "There is none."
        more = "Give it in `grafts`, or name its store." if store is None else store.say_listing(len(known))
        raise PlanError(
            f"The plan '{plan}' names '{named.name}', which is not {place}.{nearest(named.name, known)} "
            f"{hint} {more}"
        )
    manifest, tensors = store.get(named.name, version=named.version)
    return rebuild_graft(base, manifest, tensors, any_base=any_base)
