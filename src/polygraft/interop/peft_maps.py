"""The linear maps of a base, as PEFT names the layers that compute them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from polygraft.base.projections import Projection, find_family_projections, find_projection
from polygraft.errors import DataError
from polygraft.interop.peft_target import Target
from polygraft.types import ProjectionRole

if TYPE_CHECKING:
    from polygraft.base.base import Base

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Map:
    """One linear map of a base."""

    layer: int
    role: ProjectionRole
    name: str
    """Of the layer that computes it, below the encoder: `encoder.layer.0.attention.self.query`."""
    full_name: str
    """In the model that was trained: `bert.encoder.layer.0.attention.self.query`."""
    projection: Projection
    """Which of that layer's outputs are the map's."""

    @property
    def is_whole(self) -> bool:
        """Whether the layer computes nothing else."""
        return self.projection.num_rows == self.projection.num_outputs


def list_maps(base: Base, *, is_bare: bool = False) -> list[Map]:
    """List the linear maps of a base in order, with the names that they have in a model that was trained.

    Maps that one layer computes together, such as GPT-2's queries, keys and values, have one name.

    Args:
        base: The base.
        is_bare: Whether that model was the encoder alone, without a head around it.
    """
    prefix = "" if is_bare else f"{base.model.base_model_prefix}."
    found: list[Map] = []
    for layer in range(base.sites.num_layers):
        for role, path in find_family_projections(base.sites.family.name).items():
            name = f"{base.sites.family.layers}.{layer}.{path.path}"
            found.append(
                Map(
                    layer=layer,
                    role=role,
                    name=name,
                    full_name=f"{prefix}{name}",
                    projection=find_projection(base.sites, layer=layer, role=role),
                )
            )
    return found


def find_targets(maps: Sequence[Map], target: Target, *, where: str) -> list[Map]:
    """Give the maps that a configuration is about.

    Raises:
        DataError: There is none.
    """
    chosen = [each for each in maps if target.covers(each.full_name)]
    if not chosen:
        raise DataError(
            f"{where} is about no linear map of the base's layers: its targets are {target.tell()}. Expected some of "
            f"{', '.join(list_ends(maps))}. Import it on the base that it was trained on."
        )
    return chosen


def list_ends(maps: Iterable[Map]) -> list[str]:
    """Give the names of the maps below their layers, each once."""
    return list(dict.fromkeys(each.name.partition(f".{each.layer}.")[2] for each in maps))


def group(
    maps: Sequence[Map], key: Callable[[Map], Key]
) -> list[tuple[Key, tuple[ProjectionRole, ...], tuple[int, ...]]]:
    """Gather maps into blocks, each of some layers times some roles, with one key each.

    Args:
        maps: The maps, in order.
        key: What has to be equal in a block.

    Returns:
        For each block its key, roles and layers; each becomes a part.
    """
    by_layer: dict[tuple[int, Key], list[ProjectionRole]] = {}
    for each in maps:
        by_layer.setdefault((each.layer, key(each)), []).append(each.role)
    blocks: dict[tuple[Key, tuple[ProjectionRole, ...]], list[int]] = {}
    for (layer, found), roles in by_layer.items():
        blocks.setdefault((found, tuple(roles)), []).append(layer)
    return [(found, roles, tuple(layers)) for (found, roles), layers in blocks.items()]
