"""Several tasks packed one after the other into one set of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from polygraft.attach.sparse import find_edit, make_mask, read_places, read_values
from polygraft.errors import OptionError
from polygraft.parts.mask import MaskLayers
from polygraft.prune.mask import count_places, invert, measure_density, unite
from polygraft.prune.scope import parse_scope
from polygraft.prune.scores import magnitude
from polygraft.prune.select import select_global, select_n_of_m, select_per_row, select_per_tensor
from polygraft.prune.share import complement, round_share
from polygraft.recipe.bench import Bench, Phase, copy_head, count_weights
from polygraft.recipe.methods import describe_method
from polygraft.recipe.outcome import Outcome, make_outcome
from polygraft.recipe.packing import ALL, LEFT, TAKEN, check_free, check_own, check_scope

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.attach.graft import Graft
    from polygraft.prune.keys import Score
    from polygraft.recipe.methods import PackNet
    from polygraft.train.step import Step

Masks = Mapping[str, "Tensor"]


def run_packnet(bench: Bench, method: PackNet) -> Iterator[Step | Phase | Outcome]:
    """Train the weights that the tasks below left free, give some of them back, and train the others on.

    The first task begins with the base's weights; what a task gave back is zero until a later one takes it. Weights of
    the tasks below stay what they are, so that nothing about those tasks changes.

    Args:
        bench: The data, and below the tasks that are packed already.
        method: How much is given back.

    Raises:
        OptionError: Nothing is free, or a graft below is not packed over the same weights.
    """
    shapes = bench.find_shapes(method)
    taken = _find_taken(bench, shapes)
    free = invert(taken)
    num_free = count_places(free)
    is_first = not count_places(taken)
    # Which places are chosen depends on the scores, how many does not.
    check_scope(method, shapes, bench.name, is_first=is_first)
    num_own = count_places(_choose(method, shapes, lambda name: torch.zeros(shapes[name]), free=free))
    check_own(method, bench.name, num_own=num_own, num_free=num_free)
    whole = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    dense = _make(bench, method, whole, free, _read_start(bench, shapes, is_first=is_first))
    yield Phase(title=f"Training the {num_free:,} free weights ...", name=f"{bench.name}, free weights")
    described = describe_method(method)
    yield from bench.train(dense, phase="free", facts=[described], chooses=False)
    values = read_values(find_edit(dense, MaskLayers))
    own = _choose(method, shapes, magnitude(values), free=free)
    graft = _make(bench, method, unite(taken, own), own, values)
    copy_head(dense.tensors(), graft)
    title = f"Training the {count_places(own):,} weights that are kept ..."
    yield Phase(title=title, name=f"{bench.name}, kept weights")
    training = yield from bench.train(graft, phase="kept", facts=[described])
    yield make_outcome(
        bench,
        graft,
        training,
        dtype=method.dtype,
        is_scored=True,
        digest=bench.digest(described),
        facts={
            **described,
            TAKEN: count_places(own),
            LEFT: 1 - measure_density(unite(taken, own)),
            ALL: count_weights(shapes),
        },
    )


def _find_taken(bench: Bench, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Give the places that the tasks below keep, none without any.

    Raises:
        OptionError: A graft below prunes other weights, or none is left.
    """
    taken = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in shapes.items()}
    for name, graft in bench.below.items():
        for layers in graft.layers.children():
            if not isinstance(layers, MaskLayers):
                continue
            if layers.names != list(shapes) or layers.values is None:
                raise OptionError(
                    f"The graft '{name}' below '{bench.name}' is a mask over {len(layers.names)} weights"
                    f"{'' if layers.values is not None else ' without values'}, and '{bench.name}' is to be "
                    f"packed into {len(shapes)}. Expected tasks that were packed into the same ones. Name the same "
                    "weights."
                )
            taken = unite(taken, read_places(layers))
    check_free(bench.name, bench.below, num_free=count_places(invert(taken)))
    return taken


def _choose(
    method: PackNet, shapes: Mapping[str, tuple[int, ...]], score: Score, *, free: Masks
) -> dict[str, Tensor]:
    """Choose among the free weights, in a scope, those that the task keeps: a share of the free ones."""
    scope, share = parse_scope(method.scope), complement(method.sparsity)
    match scope.kind:
        case "global":
            num_kept = round_share(share, total=count_places(free))
            return select_global(shapes, score, num_kept=num_kept, within=free)
        case "tensor":
            return select_per_tensor(shapes, score, share_kept=share, within=free)
        case "row":
            return select_per_row(shapes, score, share_kept=share, within=free)
        case _:
            return select_n_of_m(shapes, score, n=scope.n, m=scope.m, within=free)


def _read_start(bench: Bench, shapes: Mapping[str, tuple[int, ...]], *, is_first: bool) -> dict[str, Tensor]:
    """Give what the free weights begin with: the base's for the first task, zero for later ones."""
    if not is_first:
        return {name: torch.zeros(shape) for name, shape in shapes.items()}
    weights = dict(bench.base.model.named_parameters())
    return {name: weights[name].detach() for name in shapes}


def _make(bench: Bench, method: PackNet, kept: Masks, own: Masks, values: Masks) -> Graft:
    """Make a graft that keeps some weights, and has values for its own among them."""
    return make_mask(
        bench.base,
        bench.name,
        kept,
        weights=method.weights,
        skip_layers=bench.skip_layers,
        values=values,
        valued=own,
        others=bench.further_parts,
        seed=bench.settings.seed,
    )
