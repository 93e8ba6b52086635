"""Sparse fine-tunings of composable-sft (Ansell et al. 2022): `pytorch_diff.bin`.

For each weight the file holds its shape, the steps from one changed place to the next, and the differences at these
places. Places are counted with the first axis fastest, so that place p of a weight [R, C] is row p mod R, column
p // R; the first step leads from place 0. Tensors that are not differences, a head's, stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from polygraft.attach.graft import Graft, copy_tensors
from polygraft.attach.sparse import find_edit, make_delta
from polygraft.base.weights import list_weights
from polygraft.errors import DataError, GraftError, nearest
from polygraft.interop.heads import HeadTensors, make_labels, read_plain_head, write_plain_head
from polygraft.interop.imported import Imported, Origin
from polygraft.interop.named_tensors import check_numbers, check_tensors
from polygraft.interop.recognise import SFT, refuse_others
from polygraft.interop.source import Source, open_source
from polygraft.interop.torch_file import read_torch_file
from polygraft.parts.delta import Delta, DeltaLayers
from polygraft.parts.head import Head

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.types import WeightInfo

LIBRARY = "composable-sft"
FILE = "pytorch_diff.bin"
KEYS = {"diffs": "diffs", "abs": "abs", "body": "diffs", "head": "abs"}
"""What the file's two halves are called, now and in the library's first releases."""


def import_composable_sft(
    base: Base, path: Path, *, name: str, labels: Sequence[str] | None = None
) -> Imported:
    """Read a sparse fine-tuning as a graft with a delta, and with a head where the file has one.

    Args:
        base: The base that it was trained on.
        path: Its folder, or a zip of it.
        name: What plans are to call the graft.
        labels: Names of the head's labels, in order; the file has none. None calls them LABEL_0 and so on.

    Raises:
        DataError: The file is damaged, or holds what cannot be brought over.
        GraftError: The base has no such weights.
    """
    source = open_source(path)
    refuse_others(source, wanted=SFT)
    halves = _read_halves(source)
    where = f"{source.where}/{FILE}"
    infos = {info.name: info for info in list_weights(base)}
    masks: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}
    for theirs, diff in halves["diffs"].items():
        info = _find_weight(base, theirs, infos, where=where)
        dense, mask = _read_difference(diff, info, where=f"{where}, '{theirs}'")
        masks[info.name], values[info.name] = mask, dense
    if not masks:
        raise DataError(
            f"{where} changes no weight. Expected differences of at least one. It was written before it was trained: "
            "get another."
        )
    absolute = check_tensors(halves["abs"], where=where)
    head = _read_labelling_head(base, absolute, labels=labels, where=where) if absolute else None
    if labels is not None and head is None:
        raise DataError(
            f"{where} has no head, and the {len(labels)} labels {', '.join(labels)} were given. Expected labels for a "
            "file with a head only. Leave the labels out."
        )
    graft = make_delta(
        base,
        name,
        masks,
        weights=[info.name for info in infos.values() if info.name in masks],
        values=values,
        others=[] if head is None else [head.part],
    )
    if head is not None:
        own = {key: tensor for key, tensor in graft.tensors().items() if not key.startswith("head.")}
        copy_tensors(graft, {**own, **head.named()})
    graft.layers.requires_grad_(False)
    origin = Origin(
        library=LIBRARY,
        version=None,
        made_for=None,
        num_tensors=len(masks) + len(absolute),
        digests=dict(source.digests),
        notes=_list_notes(head, labels),
    )
    return Imported(graft=graft, origin=origin)


def _read_labelling_head(
    base: Base, absolute: Mapping[str, Tensor], *, labels: Sequence[str] | None, where: str
) -> HeadTensors:
    head = read_plain_head(base, absolute, labels=labels, where=where)
    if head.part.objective == "mlm":
        raise DataError(
            f"{where} has a whole masked-LM head. Expected a head for labels, or none: languages are trained with the "
            "base's own head, frozen. Remove it from the file."
        )
    return head


def _list_notes(head: HeadTensors | None, labels: Sequence[str] | None) -> tuple[str, ...]:
    if head is None or labels is not None:
        return ()
    given = make_labels(len(head.part.labels))
    return (f"The file has no names of labels; they are called {given[0]} to {given[-1]}.",)


def _read_halves(source: Source) -> dict[str, Mapping[str, object]]:
    where = f"{source.where}/{FILE}"
    found = read_torch_file(source.read(FILE), where=where)
    if not isinstance(found, dict):
        raise _refuse(where, f"it holds {type(found).__name__}")
    halves: dict[str, Mapping[str, object]] = {"diffs": {}, "abs": {}}
    for key, half in cast("dict[object, object]", found).items():
        if key not in KEYS:
            raise _refuse(where, f"it has the key {str(key)[:80]!r}")
        if half is None:
            continue
        if not isinstance(half, dict) or not all(isinstance(name, str) for name in half):
            raise _refuse(where, f"what stands under '{key}' is not by name")
        halves[KEYS[str(key)]] = cast("dict[str, object]", half)
    return halves


def _refuse(where: str, reason: str) -> DataError:
    return DataError(
        f"{where} is no sparse fine-tuning: {reason}. Expected 'diffs', each with size, index_steps and values, and "
        "'abs', tensors by name. Get it again from where it was made."
    )


def _find_weight(base: Base, name: str, infos: Mapping[str, WeightInfo], *, where: str) -> WeightInfo:
    """Find a weight of the bare encoder by the name that it has in a model with a head."""
    prefix = f"{base.model.base_model_prefix}."
    for own in (name, name.removeprefix(prefix)):
        if own in infos:
            return infos[own]
    raise GraftError(
        f"{where} changes the weight '{name}', and the base '{base.name}' has none of that name. Expected weights of "
        f"the encoder, such as '{prefix}{next(iter(infos))}'.{nearest(name.removeprefix(prefix), infos)} Import it on "
        "the base that it was trained on."
    )


def _read_difference(diff: object, info: WeightInfo, *, where: str) -> tuple[Tensor, Tensor]:
    """Give the differences, dense, and which places have one, both of the weight's shape."""
    if isinstance(diff, Tensor):
        # A weight that was trained whole is written whole.
        dense = check_numbers(diff, where=where)
        if tuple(dense.shape) != info.shape:
            raise _refuse_shape(where, tuple(dense.shape), info)
        return dense, torch.ones(info.shape, dtype=torch.bool)
    if not isinstance(diff, dict) or diff.keys() != {"size", "index_steps", "values"}:
        raise _refuse(where, "a difference has other keys")
    size, steps, values = diff["size"], diff["index_steps"], diff["values"]
    if tuple(size) != info.shape:
        raise _refuse_shape(where, tuple(size), info)
    if not isinstance(steps, list) or not all(isinstance(step, int) for step in steps):
        raise _refuse(where, "its steps are no whole numbers")
    if not isinstance(values, Tensor) or values.dim() != 1 or len(values) != len(steps):
        raise _refuse(where, f"it has {len(steps)} steps and other than so many values")
    places = _add_up(cast("list[int]", steps), size=info.size, where=where)
    reverse = info.shape[::-1]
    dense, mask = torch.zeros(info.size), torch.zeros(info.size, dtype=torch.bool)
    dense[places], mask[places] = check_numbers(values, where=where), True
    # The first axis is the fastest: the same numbers as those of the transposed weight, row by row.
    axes = tuple(reversed(range(len(reverse))))
    return dense.view(reverse).permute(axes).contiguous(), mask.view(reverse).permute(axes).contiguous()


def _add_up(steps: list[int], *, size: int, where: str) -> Tensor:
    """Give the places that steps lead to, in the file's order of axes."""
    if any(step < 1 for step in steps[1:]) or any(step < 0 or step > size for step in steps):
        raise _refuse(where, "its steps do not lead from one place to a later one")
    places = torch.tensor(steps, dtype=torch.int64).cumsum(0)
    if len(places) and int(places[-1]) >= size:
        raise _refuse(where, f"its steps lead to place {int(places[-1])} of {size}")
    return places


def _refuse_shape(where: str, shape: Sequence[int], info: WeightInfo) -> GraftError:
    return GraftError(
        f"{where} has the shape {list(shape)}, and the weight '{info.name}' of the base has {list(info.shape)}. "
        "Expected equal shapes. Import it on the base that it was trained on."
    )


def export_composable_sft(base: Base, graft: Graft, folder: Path) -> Path:
    """Write a graft with a delta, and a head for labels if it has one, as composable-sft does.

    Args:
        base: The base that it is for.
        graft: The graft.
        folder: Where the file goes; it is made if it is not there.

    Returns:
        The file.

    Raises:
        GraftError: The graft has other parts, which that library does not know.
    """
    for part in graft.parts:
        if not isinstance(part, Delta | Head) or (isinstance(part, Head) and part.objective == "mlm"):
            kind = "head for masked-LM" if isinstance(part, Head) else part.kind
            raise GraftError(
                f"The graft '{graft.name}' has a {kind}, and composable-sft knows differences and heads for labels "
                "only. Expected a graft of a delta, with a head or without. Export another graft."
            )
    layers = find_edit(graft, DeltaLayers)
    prefix = f"{base.model.base_model_prefix}."
    diffs = {f"{prefix}{info.name}": _write_difference(layers, info) for info in layers.infos}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    torch.save({"diffs": diffs, "abs": write_plain_head(base, graft)}, path)
    return path


def _write_difference(layers: DeltaLayers, info: WeightInfo) -> dict[str, object]:
    places, values = layers.find_places(info.name), layers.read(info.name).float().cpu()
    flat = torch.arange(info.size) if places is None else places.cpu()
    # From the last axis fastest to the first axis fastest.
    theirs, rest, factor = torch.zeros_like(flat), flat, info.size
    for axis in reversed(info.shape):
        factor //= axis
        theirs += rest % axis * factor
        rest = rest // axis
    order = theirs.argsort()
    theirs = theirs[order]
    steps = torch.diff(theirs, prepend=torch.zeros(1, dtype=torch.int64)).tolist()
    return {"size": torch.Size(info.shape), "index_steps": steps, "values": values[order].clone()}
