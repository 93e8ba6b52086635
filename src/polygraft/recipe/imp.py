"""Iterative magnitude pruning."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from polygraft.attach.sparse import find_edit, read_values
from polygraft.errors import OptionError, TrainError
from polygraft.parts.mask import MaskLayers
from polygraft.prune.mask import count_places
from polygraft.prune.scope import check_selection, parse_scope
from polygraft.prune.select import select
from polygraft.recipe.bench import Bench, Phase, count_weights, make_dense, make_pruned, pick_head
from polygraft.recipe.criteria import check_criterion, make_score
from polygraft.recipe.methods import LEVELS, describe_method
from polygraft.recipe.outcome import Outcome, make_outcome
from polygraft.settings import load_launch
from polygraft.store.manifest import check_name

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.recipe.methods import Imp
    from polygraft.train.loop import Training
    from polygraft.train.step import Step

REWIND = "rewind"
Level = dict[str, float]
"""The share that is pruned, the score on held-out data, and what it was right after the cut, as far as known."""


def run_imp(bench: Bench, method: Imp) -> Iterator[Step | Phase | Outcome]:
    """Train densely, then remove the smallest weights and train the survivors on, level by level.

    Args:
        bench: The data and the grafts below.
        method: The levels and where survivors go on from.

    Raises:
        OptionError: A level cannot be cut, or training is shorter than the steps that are rewound to.
        StoreError: The name is too long for the grafts of the levels.
    """
    scope, shapes = parse_scope(method.scope), bench.find_shapes(method)
    for sparsity in method.sparsities[:-1]:
        check_name(name_level(bench.name, sparsity))
    for sparsity in method.sparsities:
        if sparsity:
            check_selection(shapes, scope=scope, sparsity=sparsity)
    check_criterion(bench.base, method.criterion, weights=shapes)
    graft = make_dense(bench, method)
    start, head = read_values(find_edit(graft, MaskLayers)), pick_head(graft.tensors())
    base_values = start
    yield Phase(title=f"Training all {count_weights(shapes):,} weights ...", name=bench.name)
    training = yield from _train_dense(bench, method, graft)
    if method.rewind.isdecimal():
        start, head = _read_rewound(bench, method, graft)
    dense = graft
    levels: list[Level] = []
    if 0 in method.sparsities:
        yield _make_level(bench, method, graft, training, sparsity=0.0, before=None, levels=levels)
    kept: Mapping[str, Tensor] | None = None
    for sparsity in method.sparsities:
        if sparsity == 0:
            continue
        values = read_values(find_edit(graft, MaskLayers))
        within = kept if method.retrain == "between" else None
        score = make_score(
            bench, graft, criterion=method.criterion, num_batches=method.num_batches, start=base_values
        )
        kept = select(shapes, score, scope=scope, sparsity=sparsity, within=within)
        cut = make_pruned(bench, method, kept, values, head=graft.tensors())
        before = bench.score(cut)
        if method.retrain != "never":
            if method.rewind != "none":
                cut = make_pruned(bench, method, kept, start, head=head)
            yield Phase(
                title=f"Training the {count_places(kept):,} weights that are left at {sparsity:.4g} ...",
                name=f"{bench.name} at {sparsity:.4g}",
            )
            facts = list_level_facts(method, sparsity)
            training = yield from bench.train(cut, phase=f"level-{sparsity:.6g}", facts=facts)
            graft = cut if method.retrain == "between" else dense
        yield _make_level(bench, method, cut, training, sparsity=sparsity, before=before, levels=levels)


def _train_dense(bench: Bench, method: Imp, graft: Graft) -> Generator[Step, None, Training]:
    """Train all weights; what they were after the step that is rewound to is kept on the way."""
    wanted = int(method.rewind) if method.rewind.isdecimal() else None
    snapshot = bench.open_checkpoints(REWIND, method.rewind)

    def prepare(number: int) -> None:
        # Of several processes, the first one writes for all.
        if number == wanted and load_launch().is_first:
            snapshot.save(number, graft.tensors(), {})

    # Nothing about the later levels: with others, the same dense training goes on.
    facts = [method.kind, method.weights, method.rewind]
    num_steps = bench.count_steps()
    if wanted is not None and wanted >= num_steps:
        raise OptionError(
            f"Pruning was to rewind to step {wanted}, and the dense training has {num_steps} steps. Expected an "
            "earlier one, such as a tenth of them. Correct the number."
        )
    return (yield from bench.train(graft, phase="dense", facts=facts, prepare=prepare))


def _read_rewound(bench: Bench, method: Imp, graft: Graft) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the weights and the head as they were after the step that is rewound to."""
    state = bench.open_checkpoints(REWIND, method.rewind).load()
    if state is None or not state.tensors:
        raise TrainError(
            f"What '{bench.name}' was after step {method.rewind} is no longer there. Expected it in {bench.folder}. "
            "Remove that folder, and train again."
        )
    early = bench.copy(graft, state.tensors)
    return read_values(find_edit(early, MaskLayers)), pick_head(state.tensors)


def _make_level(
    bench: Bench,
    method: Imp,
    graft: Graft,
    training: Training,
    *,
    sparsity: float,
    before: float | None,
    levels: list[Level],
) -> Outcome:
    """Make what is stored of a level; `levels` are those before it, and it is added to them."""
    layers = find_edit(graft, MaskLayers)
    # Levels that are cut from the dense weights stand on nothing else.
    is_alone = method.retrain != "between"
    spent = [*bench.spent[:1], *bench.spent[1:][-1:]] if is_alone else bench.spent
    outcome = make_outcome(
        bench,
        graft,
        training,
        dtype=method.dtype,
        is_scored=before is None or method.retrain != "never",
        facts={},
        digest=bench.digest(*list_level_facts(method, sparsity)),
        spent=spent,
    )
    score = training.progress.best if outcome.score is None else outcome.score
    exact = 1 - layers.num_kept / sum(layers.sizes)
    told = {"score": score, "when_cut": before}
    levels.append(
        {"sparsity": exact, **{key: bench.orient(value) for key, value in told.items() if value is not None}}
    )
    facts = {**describe_method(method), "sparsity": exact, LEVELS: [dict(level) for level in levels]}
    name = None if sparsity == method.sparsities[-1] else name_level(bench.name, sparsity)
    return replace(outcome, facts=facts, name=name)


def name_level(name: str, sparsity: float) -> str:
    """Give what the graft of a level is called that is not the last.

    Example:
        >>> name_level("ner", 0.5), name_level("ner", 0.875)
        ('ner-s50', 'ner-s87.5')
    """
    return f"{name}-s{100 * sparsity:.6g}"


def list_level_facts(method: Imp, sparsity: float) -> list[object]:
    """List what a level depends on beside the data: the levels before it, not those after."""
    is_alone = method.retrain != "between"
    levels = [sparsity] if is_alone else [each for each in method.sparsities if each <= sparsity]
    described = {**describe_method(method), "method_sparsities": levels}
    return [described]
