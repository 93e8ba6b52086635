"""Which layers of a model a configuration of PEFT is about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from polygraft.errors import DataError
from polygraft.interop.options import Options, show
from polygraft.interop.peft_patterns import compile_pattern

ALL_LINEAR = "all-linear"
"""What PEFT calls all linear layers together."""
ANY_LAYERS = re.compile(r".*?\.[^.]*\.(?P<index>\d+)\.")
"""Where the index of a layer is in a name, if the configuration does not say."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Which layers of a model a configuration is about, by their names there.

    The rules are those of `check_target_module_exists` in PEFT 0.21.
    """

    modules: tuple[str, ...] = ()
    """Names and ends of names."""
    pattern: re.Pattern[str] | None = None
    """What a whole name has to match instead."""
    excluded: tuple[str, ...] = ()
    """Names and ends of names that are left out."""
    excluded_pattern: re.Pattern[str] | None = None
    """What is left out if the whole name matches."""
    saved: tuple[str, ...] = ()
    """Layers that were trained whole, with all below them."""
    layers: tuple[int, ...] | None = None
    """The layers of the base; None is all."""
    where_layers: tuple[re.Pattern[str], ...] = (ANY_LAYERS,)
    """What finds the index of a layer in a name; the first one that matches counts."""
    is_all_linear: bool = False

    def covers(self, name: str) -> bool:
        """Say whether it is about a linear map.

        Args:
            name: The map's name in the model, such as `bert.encoder.layer.0.attention.self.query`.
        """
        if self.excluded_pattern is not None and self.excluded_pattern.fullmatch(name):
            return False
        if _ends(name, self.excluded) or any(f".{saved}." in f".{name}." for saved in self.saved):
            return False
        if self.pattern is not None:
            return self.pattern.fullmatch(name) is not None
        # A whole name counts whatever its layer is.
        if self.is_all_linear or name in self.modules:
            return True
        return _ends(name, self.modules) and (self.layers is None or self._find_index(name) in self.layers)

    def tell(self) -> str:
        """Say in a message what it is about."""
        if self.pattern is not None:
            return f"the pattern {show(self.pattern.pattern)}"
        return ", ".join(self.modules) or ALL_LINEAR

    def _find_index(self, name: str) -> int | None:
        for pattern in self.where_layers:
            match = pattern.match(name)
            if match is not None and match["index"] is not None:
                return int(match["index"])
        return None


def read_target(options: Options, *, num_layers: int, saved: Sequence[str]) -> Target:
    """Read what a configuration is about.

    Args:
        options: The configuration.
        num_layers: Layers of the base.
        saved: Layers that were trained whole beside it.

    Raises:
        DataError: It does not say, or asks for what PEFT would not read either.
    """
    value = options.take("target_modules")
    if value is None:
        raise options.refuse(
            "target_modules",
            None,
            why="the file does not say which layers it stands beside",
            expected=f'names of layers, a pattern of names, or "{ALL_LINEAR}"',
        )
    is_all_linear = isinstance(value, str) and value.lower() == ALL_LINEAR
    pattern = None
    if isinstance(value, str) and not is_all_linear:
        pattern = compile_pattern(value, where=f"{options.where}, target_modules")
        for key in ("layers_to_transform", "layers_pattern"):
            # PEFT refuses both beside a pattern, so that no folder has them.
            options.expect(key, why="the targets are a pattern, which says by itself which layers are meant")
    excluded = options.take("exclude_modules")
    layers = _read_layers(options, num_layers=num_layers)
    return Target(
        modules=() if isinstance(value, str) else options.texts("target_modules"),
        pattern=pattern,
        excluded=() if isinstance(excluded, str) else options.texts("exclude_modules"),
        excluded_pattern=(
            compile_pattern(excluded, where=f"{options.where}, exclude_modules")
            if isinstance(excluded, str) and excluded
            else None
        ),
        saved=tuple(saved),
        layers=layers,
        where_layers=_read_where_layers(options, has_layers=layers is not None),
        is_all_linear=is_all_linear,
    )


def _read_layers(options: Options, *, num_layers: int) -> tuple[int, ...] | None:
    value = options.take("layers_to_transform")
    layers = (
        (value,)
        if isinstance(value, int) and not isinstance(value, bool)
        else options.wholes("layers_to_transform")
    )
    for layer in layers:
        if not 0 <= layer < num_layers:
            raise DataError(
                f"{options.where} has layers_to_transform with {layer}, and the base has {num_layers} layers. Expected "
                f"numbers from 0 to {num_layers - 1}, since PEFT counts none from the end. Import it on the base that "
                "it was trained on."
            )
    return layers or None


def _read_where_layers(options: Options, *, has_layers: bool) -> tuple[re.Pattern[str], ...]:
    patterns = tuple(text for text in options.texts("layers_pattern") if text)
    if not patterns:
        return (ANY_LAYERS,)
    if not has_layers:
        raise options.refuse(
            "layers_pattern",
            list(patterns),
            why="no layers_to_transform says which of these layers are meant",
            expected="null",
        )
    where = f"{options.where}, layers_pattern"
    found: list[re.Pattern[str]] = []
    for text in patterns:
        compile_pattern(text, where=where)
        found.append(re.compile(rf"(?:^|.*?\.){text}\.(?P<index>\d+)\."))
    return tuple(found)


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)
