"""What enters the linear layers of a base."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from polygraft.base.base import Base


@contextmanager
def watch_inputs(base: Base, names: Collection[str], tell: Callable[[str, Tensor], None]) -> Generator[None]:
    """Tell what enters linear layers during passes inside the block, without what stands at padding.

    Args:
        base: The base.
        names: The weights of the layers.
        tell: Given a weight's name and its layer's input, [N, D].
    """
    current: dict[str, Tensor] = {}

    def note(_: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        current["mask"] = named["attention_mask"]

    def make_hook(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            x = arguments[0]
            mask = current["mask"].bool()
            # Where only some places are computed, none of them is padding.
            tell(name, x[mask] if x.shape[:-1] == mask.shape else x.reshape(-1, x.shape[-1]))

        return hook

    layers = {f"{name}.weight": layer for name, layer in base.model.named_modules()}
    with ExitStack() as stack:
        handle = base.model.register_forward_pre_hook(note, with_kwargs=True)
        stack.callback(handle.remove)
        for name in names:
            handle = layers[name].register_forward_pre_hook(make_hook(name))
            stack.callback(handle.remove)
        with torch.no_grad():
            yield
