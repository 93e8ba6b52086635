"""What every part is: options that a user writes, and layers that they build."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional

from polygraft.errors import OptionError, nearest
from polygraft.types import ProjectionInfo, ProjectionRole, WeightInfo

MOST_TIMES = 8
"""How many times as wide as what it reads a part may be: the narrow middle is the point of it."""


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The sizes of a base that a part's tensors depend on."""

    num_layers: int
    """Number of layers (L)."""
    hidden: int
    """Size of a layer's output (D)."""
    embedding: int
    """Size of the embeddings' output (E)."""
    vocab: int
    """Number of pieces (V)."""
    norm_eps: float = 1e-12
    """What the base's LayerNorms add to the variance."""
    weights: tuple[WeightInfo, ...] = ()
    """The base's own weights, in order."""
    projections: tuple[ProjectionInfo, ...] = ()
    """The linear maps of its layers, in order."""
    is_causal: bool = False
    """Whether a token of the base sees those before it alone."""


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """One mechanism inside a graft, as its options.

    A part is a small frozen object that can be written down; `build` makes its tensors for the
    sizes of one base.
    """

    kind: ClassVar[str]

    @abstractmethod
    def build(self, dimensions: Dimensions, *, generator: torch.Generator) -> nn.Module:
        """Make the part's tensors, drawn from `generator`.

        Raises:
            OptionError: The options ask for what this base does not have.
        """

    def to_options(self) -> dict[str, Any]:
        """Give the options as plain values, as a manifest stores them."""
        return {field.name: _to_plain(vars(self)[field.name]) for field in dataclasses.fields(self)}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Make the part from plain values.

        Raises:
            OptionError: A key is unknown, or a value cannot be meant.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in options:
            if key not in known:
                raise OptionError(
                    f"The part '{cls.kind}' has no option '{key}'. Its options are {', '.join(known)}."
                    f"{nearest(key, known)} Correct the name."
                )
        for field in dataclasses.fields(cls):
            if field.default is dataclasses.MISSING and field.name not in options:
                raise OptionError(
                    f"The part '{cls.kind}' lacks the option '{field.name}', which has no default. Its "
                    "options are "
                    f"{', '.join(known)}. Give it a value."
                )
        values = {key: _to_frozen(value) for key, value in options.items()}
        kinds = get_type_hints(cls)
        for key, value in values.items():
            _check_type(cls.kind, key, value, kinds[key])
        return cls(**values)


def _to_plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _to_frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_type(part: str, option: str, value: object, kind: Any) -> None:
    """Refuse a value of another type; which words and numbers can be meant is for the part to say."""
    if not _is_of_type(value, kind):
        raise OptionError(
            f"The part '{part}' has {option}={value!r}. Expected a value of the type {_name_type(kind)}. Correct it."
        )


def _name_type(kind: Any) -> str:
    if get_origin(kind) in (UnionType, Union):
        return " | ".join(_name_type(member) for member in get_args(kind))
    if get_origin(kind) is Literal:
        return " | ".join(repr(word) for word in get_args(kind))
    if kind is type(None):
        return "None"
    return (
        kind.__name__
        if isinstance(kind, type) and get_origin(kind) is None
        else str(kind).replace("typing.", "")
    )


def _is_of_type(value: object, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Literal:
        return isinstance(value, str)
    if origin in (UnionType, Union):
        return any(_is_of_type(value, member) for member in get_args(kind))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_of_type(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def check_choice(kind: str, option: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of `choices`.

    Raises:
        OptionError: It is not.
    """
    if value not in choices:
        raise OptionError(
            f"The part '{kind}' has {option}={value!r}. Expected one of {', '.join(choices)}."
            f"{nearest(str(value), choices)} Choose one."
        )


def find_layers(kind: str, *, skip_layers: Collection[int], num_layers: int) -> list[int]:
    """List the layers of a base without those to skip; negative ones count from the end.

    Raises:
        OptionError: A layer to skip does not exist, or none is left.
    """
    for layer in skip_layers:
        if not -num_layers <= layer < num_layers:
            raise OptionError(
                f"The part '{kind}' has skip_layers with {layer}, and the base has {num_layers} "
                "layers. "
                f"Expected {-num_layers} to {num_layers - 1}. Correct the number."
            )
    skipped = {layer % num_layers for layer in skip_layers}
    if len(skipped) == num_layers:
        raise OptionError(
            f"The part '{kind}' skips all {num_layers} layers of the base, so it would do nothing. "
            "Leave at least one layer out of skip_layers."
        )
    return [layer for layer in range(num_layers) if layer not in skipped]


def check_roles(kind: str, option: str, roles: Collection[str]) -> None:
    """Refuse roles that no linear map of any base has, and one that is named twice.

    Raises:
        OptionError: There is such a role.
    """
    known = get_args(ProjectionRole)
    for index, role in enumerate(roles):
        if role not in known:
            raise OptionError(
                f"The part '{kind}' has {option} with '{role}', which is no role of a linear layer. Expected some of "
                f"{', '.join(known)}.{nearest(role, known)} Correct it."
            )
        if role in tuple(roles)[:index]:
            raise OptionError(
                f"The part '{kind}' has {option} with '{role}' twice. Expected each role once. Leave one out."
            )


def find_maps(
    kind: str,
    *,
    option: str,
    roles: Collection[ProjectionRole],
    skip_layers: Collection[int],
    dimensions: Dimensions,
) -> list[ProjectionInfo]:
    """List the linear maps of a base that have one of some roles, without those in the layers to skip.

    Args:
        kind: The part.
        option: What its option with the roles is called.
        roles: What the maps compute, as `check_roles` accepts them.
        skip_layers: Layers left out; negative ones count from the end.
        dimensions: The sizes of the base.

    Raises:
        OptionError: The base has no map of a role, or a layer to skip does not exist.
    """
    known = list(dict.fromkeys(info.role for info in dimensions.projections))
    for role in roles:
        if role not in known:
            raise OptionError(
                f"The part '{kind}' has {option} with '{role}', and the base has no linear layer of that role. "
                f"Expected some of {', '.join(known)}.{nearest(str(role), known)} Correct it."
            )
    layers = find_layers(kind, skip_layers=skip_layers, num_layers=dimensions.num_layers)
    return [info for info in dimensions.projections if info.role in roles and info.layer in layers]


def check_halves(kind: str, *, size: int) -> None:
    """Refuse embeddings that a part cannot halve.

    Raises:
        OptionError: Their size is odd.
    """
    if size % 2:
        raise OptionError(
            f"The part '{kind}' halves the embeddings, and this base's have the odd size "
            f"{size}. Leave the part out for this base."
        )


def check_reduction(kind: str, reduction: float) -> None:
    """Refuse a reduction that makes no width, or on any base a larger one than anyone can mean.

    Raises:
        OptionError: It does.
    """
    least = 1 / MOST_TIMES
    if least <= reduction:
        return
    result = (
        f"makes a width of more than {MOST_TIMES} times what it reads" if reduction > 0 else "makes no width"
    )
    raise OptionError(
        f"The part '{kind}' has reduction={reduction:g}, which {result}. Expected a number from {least:g} to the size "
        "of what it reads. Choose a larger reduction."
    )


def check_width(kind: str, *, size: int, reduction: float) -> int:
    """Give the width `size / reduction`, rounded down.

    Args:
        kind: The part.
        size: Size of what it reads.
        reduction: As `check_reduction` accepts it.

    Raises:
        OptionError: Nothing would be left.
    """
    if reduction > size:
        raise OptionError(
            f"The part '{kind}' has reduction={reduction:g}, which leaves no width of a size of {size}. Expected a "
            f"number from {1 / MOST_TIMES:g} to {size}. Choose a smaller reduction."
        )
    return int(size // reduction)


def make_linear(
    rows: int, columns: int, *, generator: torch.Generator, std: float | None = None
) -> nn.Linear:
    """Make a linear layer from `columns` to `rows` with chosen random values.

    On torch's default device: on "meta" it has shapes and no values, and takes no memory.

    Args:
        rows: Outputs.
        columns: Inputs.
        generator: Where the values are drawn from.
        std: Standard deviation of the weight; 0 gives zeros, None gives PyTorch's own uniform
            initialisation (Kaiming with a = sqrt(5)). The bias is zero, or uniform with None.
    """
    layer = nn.Linear(columns, rows, device="meta").to_empty(device=torch.get_default_device())
    bound = columns**-0.5
    with torch.no_grad():
        if std is None:
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
        else:
            layer.weight.normal_(0.0, std, generator=generator) if std else layer.weight.zero_()
            layer.bias.zero_()
    return layer


def make_values(*shape: int, generator: torch.Generator, std: float) -> nn.Parameter:
    """Make values drawn from N(0, std), on torch's default device as `make_linear` does.

    Args:
        shape: Their shape.
        generator: Where they are drawn from.
        std: Standard deviation; 0 gives zeros.
    """
    values = nn.Parameter(torch.empty(shape))
    with torch.no_grad():
        values.normal_(0.0, std, generator=generator) if std else values.zero_()
    return values


def check_number(kind: str, option: str, value: int, *, most: int) -> None:
    """Refuse a number that is not from 1 to `most`.

    Raises:
        OptionError: It is not.
    """
    if not 1 <= value <= most:
        raise OptionError(
            f"The part '{kind}' has {option}={value}. Expected a whole number from 1 to {most}. Correct it."
        )


def apply_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer in the dtype of its input: float32 values serve a base in bfloat16."""
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
