"""What enters the linear layers of a base."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.passes import Pass


@contextmanager
def watch_inputs(
    attachment: Attachment, names: Collection[str], tell: Callable[[str, Tensor], None]
) -> Generator[None]:
    """Tell what enters linear layers during passes inside the block: each token once, and no padding.

    Args:
        attachment: What is in force.
        names: The weights of the layers.
        tell: Given a weight's name and its layer's input, [N, D].
    """
    current: dict[str, Tensor] = {}

    def note(_: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        current["mask"] = named["attention_mask"]

    def make_hook(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            tell(name, _take_tokens(arguments[0], mask=current["mask"].bool(), seen=attachment.hooks.current))

        return hook

    model = attachment.base.model
    layers = {f"{name}.weight": layer for name, layer in model.named_modules()}
    with ExitStack() as stack:
        handle = model.register_forward_pre_hook(note, with_kwargs=True)
        stack.callback(handle.remove)
        for name in names:
            handle = layers[name].register_forward_pre_hook(make_hook(name))
            stack.callback(handle.remove)
        with torch.no_grad():
            yield


def _take_tokens(x: Tensor, *, mask: Tensor, seen: Pass) -> Tensor:
    """Take the inputs of tokens, [N, D], out of those of a layer."""
    if seen.is_narrow and seen.wanted is not None and x.shape[:-1] == (1, len(seen.wanted)):
        # None of the wanted places is padding. They rise, and place 0 behind the first one only fills up.
        is_token = seen.wanted != 0
        is_token[0] = True
        return x[0, is_token]
    # Some families leave padding out by themselves.
    return x[mask] if x.shape[:-1] == mask.shape else x.reshape(-1, x.shape[-1])
