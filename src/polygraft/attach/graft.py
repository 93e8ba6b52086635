"""A graft: parts with their tensors, made for one base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from polygraft.base.projections import list_projections
from polygraft.base.weights import list_weights
from polygraft.errors import FingerprintError, GraftError, PolygraftError, nearest
from polygraft.parts.edit import EditLayers
from polygraft.parts.head import Head, HeadLayers, PieceHeadLayers
from polygraft.parts.part import Dimensions, Part
from polygraft.parts.reach import AttentionLayers, EmbeddingLayers, PromptLayers
from polygraft.parts.table import make_part
from polygraft.store.commands import say_again, say_store
from polygraft.store.graft import MANIFEST, TENSORS

if TYPE_CHECKING:
    from polygraft.base.base import Base
    from polygraft.store.manifest import Manifest


Kind = TypeVar("Kind")


@dataclass(kw_only=True, eq=False)
class Graft:
    """A named, trained, storable change to a base."""

    name: str
    parts: tuple[Part, ...]
    layers: nn.ModuleDict
    """The tensors of each part, by its kind (`bottleneck`, a second one is `bottleneck_2`)."""
    manifest: Manifest | None = field(default=None)
    """Where it came from; None as long as it was not stored."""
    base_fingerprint: str | None = None
    """The base it was made for; None if that is not known."""

    @property
    def num_parameters(self) -> int:
        """Count the graft's own values."""
        return sum(tensor.numel() for tensor in self.tensors().values() if tensor.is_floating_point())

    def tensors(self) -> dict[str, Tensor]:
        """Give the tensors by name, as they are stored."""
        return {name: tensor.detach() for name, tensor in self.layers.state_dict().items()}

    def list_layers(self, kind: type[Kind]) -> list[Kind]:
        """List the layers of its parts that are of a kind, in order."""
        return [layers for layers in self.layers.children() if isinstance(layers, kind)]

    def find_head(self) -> HeadLayers | PieceHeadLayers | None:
        """Give the layers of the graft's head, or None."""
        for layers in self.layers.children():
            if isinstance(layers, HeadLayers | PieceHeadLayers):
                return layers
        return None

    def find_invertible(self) -> EmbeddingLayers | None:
        """Give the graft's invertible layers, or None."""
        return next(iter(self.list_layers(EmbeddingLayers)), None)

    @property
    def num_taken(self) -> int:
        """How many of the base's positions it takes before the pieces of a row: by prompts, and by what moves them."""
        moved = sum(layers.num_moved for layers in self.list_layers(AttentionLayers))
        return sum(layers.length for layers in self.list_layers(PromptLayers)) + moved

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that its head scores; empty without one."""
        return next((part.labels for part in self.parts if isinstance(part, Head)), ())


def measure_base(base: Base) -> Dimensions:
    """Give the sizes of a base that parts depend on."""
    sites = base.sites
    return Dimensions(
        num_layers=sites.num_layers,
        hidden=sites.hidden,
        embedding=sites.embedding,
        vocab=sites.vocab,
        norm_eps=sites.norm_eps,
        weights=list_weights(base),
        projections=list_projections(base.sites),
        is_causal=sites.is_causal,
    )


def make_graft(base: Base, name: str, parts: Sequence[Part], *, seed: int = 0) -> Graft:
    """Make a fresh graft for a base: it changes nothing yet.

    Args:
        base: The base whose sizes the tensors take.
        name: What plans call it.
        parts: What it is made of, such as `language_graft()`.
        seed: Where its random values come from.

    Raises:
        OptionError: A part asks for what the base does not have.

    Example:
        >>> graft = make_graft(base, "qu", language_graft())  # doctest: +SKIP
    """
    if sum(part.kind == Head.kind for part in parts) > 1:
        raise GraftError(
            f"The graft '{name}' has more than one head. Put the heads into grafts of their own."
        )
    layers = _build_layers(base, parts, seed=seed, device="cpu")
    return Graft(
        name=name, parts=tuple(parts), layers=layers.to(base.device), base_fingerprint=base.fingerprint
    )


def shape_layers(base: Base, parts: Sequence[Part]) -> nn.ModuleDict:
    """Make what `make_graft` makes of parts without values: its shapes and dtypes, in no memory.

    Args:
        base: The base whose sizes the tensors take.
        parts: What the graft is made of.

    Raises:
        OptionError: A part asks for what the base does not have.
    """
    return _build_layers(base, parts, seed=0, device="meta")


def _build_layers(base: Base, parts: Sequence[Part], *, seed: int, device: str) -> nn.ModuleDict:
    generator = torch.Generator().manual_seed(seed)
    dimensions = measure_base(base)
    layers = nn.ModuleDict()
    with torch.device(device):
        for part in parts:
            layers[find_key(part, layers)] = part.build(dimensions, generator=generator)
    return layers


def find_key(part: Part, taken: Iterable[str]) -> str:
    """Give what the tensors of a part are stored under, behind those of parts before it.

    Args:
        part: The part.
        taken: The keys of the parts before it.
    """
    count = sum(key == part.kind or key.startswith(f"{part.kind}_") for key in taken)
    return part.kind if count == 0 else f"{part.kind}_{count + 1}"


def copy_tensors(graft: Graft, tensors: Mapping[str, Tensor]) -> None:
    """Fill a graft with tensors, all of them and no others.

    Raises:
        GraftError: A tensor is missing, unknown, or of another shape, or no code of places.
    """
    check_fit(graft.name, tensors, own=graft.layers.state_dict())
    graft.layers.load_state_dict(dict(tensors), strict=True)
    for layers in graft.layers.children():
        if isinstance(layers, EditLayers):
            layers.find_places(layers.names[0])


def check_fit(
    name: str, tensors: Mapping[str, Tensor], *, own: Mapping[str, Tensor], is_own_base: bool = False
) -> None:
    """Refuse tensors that are not those of a graft's parts, by name and shape.

    Args:
        name: The graft's name.
        tensors: The tensors.
        own: What the parts have; only the shapes count.
        is_own_base: Whether they are known to be for this base, so that its sizes explain nothing.

    Raises:
        GraftError: A tensor is missing, unknown, or of another shape.
    """
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    if unknown:
        raise GraftError(
            f"The graft '{name}' has a tensor '{unknown[0]}' that its parts do not know "
            f"({len(unknown)} "
            f"such in all). Its parts have {len(own)} tensors, and no others were expected.{nearest(unknown[0], own)}"
        )
    if missing:
        raise GraftError(
            f"The graft '{name}' lacks the tensor '{missing[0]}' ({len(missing)} missing in all, of "
            f"{len(own)}). All tensors of its parts were expected."
        )
    for key, tensor in tensors.items():
        _check_shape(name, key, tensor, own=own[key], is_own_base=is_own_base)


def _check_shape(name: str, key: str, tensor: Tensor, *, own: Tensor, is_own_base: bool = False) -> None:
    if tensor.shape != own.shape:
        why = "" if is_own_base else " The graft was made for a base of other sizes."
        raise GraftError(
            f"The tensor '{key}' of the graft '{name}' has the shape {list(tensor.shape)} where "
            f"{list(own.shape)} was expected.{why}"
        )


def check_sizes(base: Base, graft: Graft) -> None:
    """Refuse a graft in memory whose tensors have other sizes than its parts would have on a base.

    Layers that the base does not have are refused where the graft is put in.

    Raises:
        GraftError: They have.
        OptionError: A part asks for what the base does not have.
    """
    fresh = _build_layers(base, graft.parts, seed=0, device="meta").state_dict()
    for key, tensor in graft.tensors().items():
        if key in fresh:
            _check_shape(graft.name, key, tensor, own=fresh[key])


def rebuild_graft(
    base: Base,
    manifest: Manifest,
    tensors: Mapping[str, Tensor],
    *,
    any_base: bool = False,
    folder: Path | None = None,
) -> Graft:
    """Make a graft of what a store holds, for the base it was trained on.

    Args:
        base: The base that it is to meet.
        manifest: What the store says of it.
        tensors: Its values.
        any_base: Whether to accept a base or tokenizer with another fingerprint.
        folder: Where the graft is stored, for messages.

    Raises:
        FingerprintError: The base or the tokenizer is another one.
        OptionError: A part or one of its options is unknown, or not for this base.
        GraftError: The tensors do not fit.
    """
    if not any_base:
        check_fingerprints(base, manifest, folder=folder)
    try:
        # Without memory first: what a manifest asks for is not made before its tensors are known to fit.
        parts = check_tensors(base, manifest, tensors)
        graft = make_graft(base, manifest.name, parts)
        copy_tensors(graft, tensors)
    except PolygraftError as error:
        error.add_note(_say_where(base, manifest, folder))
        raise
    graft.manifest = manifest
    graft.layers.requires_grad_(False)
    return graft


def check_tensors(base: Base, manifest: Manifest, tensors: Mapping[str, Tensor]) -> list[Part]:
    """Refuse tensors that are not those of a manifest's parts on a base, by name and shape; give the parts.

    Raises:
        OptionError: A part or one of its options is unknown, or not for this base.
        GraftError: A tensor is missing, unknown, or of another shape.
    """
    parts = [make_part(record.kind, record.options) for record in manifest.parts]
    is_own_base = manifest.base.fingerprint == base.fingerprint
    check_fit(manifest.name, tensors, own=shape_layers(base, parts).state_dict(), is_own_base=is_own_base)
    return parts


def _say_where(base: Base, manifest: Manifest, folder: Path | None) -> str:
    file = "" if folder is None else f", {folder / TENSORS}"
    what = f"That was version {manifest.version} of the graft '{manifest.name}'{file}"
    if manifest.base.fingerprint != base.fingerprint:
        return f"{what}, which was trained on another base, '{manifest.base.name}'. Load that one."
    return f"{what}. {say_again(folder or Path(manifest.name, str(manifest.version)))}"


def check_made_for(base: Base, graft: Graft) -> None:
    """Refuse a graft in memory that was made for another base.

    Raises:
        FingerprintError: It was.
    """
    if graft.base_fingerprint not in (None, base.fingerprint):
        raise FingerprintError(
            f"Graft '{graft.name}' was made for another base: that one's fingerprint is "
            f"{str(graft.base_fingerprint)[:8]}, '{base.name}' has {base.fingerprint[:8]}. Attach it to its "
            "own "
            "base, or pass any_base=True to try it all the same."
        )


def check_fingerprints(base: Base, manifest: Manifest, *, folder: Path | None = None) -> None:
    """Refuse a graft that was trained on another base or tokenizer.

    Args:
        base: The base that it is to meet.
        manifest: What the store says of it.
        folder: Where the graft is stored, for messages.

    Raises:
        FingerprintError: It was.
    """
    file = "" if folder is None else f" ({folder / MANIFEST})"
    show = f"polygraft grafts show {manifest.name}"
    if folder is not None:
        show += f" --version {manifest.version}{say_store(folder.parent.parent)}"
    if manifest.base.fingerprint != base.fingerprint:
        raise FingerprintError(
            f"Graft '{manifest.name}'{file} was trained on another base: it carries fingerprint "
            f"{manifest.base.fingerprint[:8]}, '{base.name}' has {base.fingerprint[:8]}. Load the base it "
            "names "
            f"(`{show}`), or pass --any-base to try it all the same."
        )
    if manifest.tokenizer != base.tokenizer_fingerprint:
        raise FingerprintError(
            f"Graft '{manifest.name}'{file} was trained with another tokenizer: it carries fingerprint "
            f"{manifest.tokenizer[:8]}, the one of '{base.name}' has {base.tokenizer_fingerprint[:8]}. Load "
            "the base "
            f"it names (`{show}`), or pass --any-base to try it all the same."
        )
