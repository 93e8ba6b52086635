"""Write a base without its pruned units: a smaller Hugging Face folder that computes what the masked base computes."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from polygraft.base.shrink import shrink_base
from polygraft.base.transposed import restore_order
from polygraft.base.units import find_family_units
from polygraft.errors import BaseModelError

if TYPE_CHECKING:
    from torch import Tensor

    from polygraft.base.base import Base

WEIGHTS_FILE = "model.safetensors"
UNFINISHED = ".part-"
"""What the name of a folder that is not finished begins with."""


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What was written."""

    folder: Path
    num_neurons: int
    """Feed-forward neurons in every layer, those that fill up included."""
    num_heads: int
    """Attention heads in every layer, those that fill up or stay as zeros included."""
    num_parameters: int
    num_parameters_before: int
    notes: tuple[str, ...]
    """Sentences about what was masked and could not be left out."""


def compact_base(
    base: Base,
    *,
    folder: Path,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
    multiple: int = 8,
) -> Compacted:
    """Write a base under masks as a Hugging Face folder, without the units of which no output weight survives.

    The folder holds the bare encoder and the tokenizer. `load_base` and plain transformers load it, and its hidden
    states are those of the masked base to rounding. Masked weights of units that stay are written as zeros.

    A configuration has one number of neurons, and one of heads, for all layers: that of the layer which keeps most.
    Layers that keep fewer are filled up with zeros. Heads go only in families whose configuration has their size.

    Args:
        base: The base, with its weights as they are now. It is not changed.
        folder: Where to write: a folder that is not there, or an empty one.
        masks: Boolean tensors by the names of weights, True for what survives, as `expand_units` gives them; a tensor
            without a mask survives whole.
        weights: Values that take the place of the base's own, by name, such as those retrained under the masks.
        multiple: The number of neurons is rounded up to a multiple of it, which processors multiply faster.

    Raises:
        BaseModelError: The folder is not empty or cannot be written, or the family's units are not known.
        GraftError: A mask or a tensor of values does not fit the base.
        OptionError: `multiple` is less than 1.
    """
    folder = folder.expanduser()
    _refuse_full_folder(folder)
    shrunk = shrink_base(base, masks=masks, weights=weights, multiple=multiple)
    config = copy.deepcopy(base.model.config)
    # Of a bare encoder, whatever it was taken out of.
    config.update({**shrunk.sizes, "architectures": [type(base.model).__name__], "dtype": base.model.dtype})
    with _new_folder(folder) as part:
        config.save_pretrained(part)
        base.tokenizer.save_pretrained(part)
        weights_of_files = restore_order(base, shrunk.weights)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in weights_of_files.items()}
        save_file(tensors, part / WEIGHTS_FILE, metadata={"format": "pt"})
        # safetensors lets nobody else read it.
        shutil.copymode(part / "config.json", part / WEIGHTS_FILE)
    names = [name for name, _ in base.model.named_parameters()]
    return Compacted(
        folder=folder,
        num_neurons=shrunk.sizes[find_family_units(base.sites.family.name).neurons_key],
        num_heads=shrunk.sizes["num_attention_heads"],
        num_parameters=sum(shrunk.weights[name].numel() for name in names),
        num_parameters_before=base.num_parameters,
        notes=shrunk.notes,
    )


def _refuse_full_folder(folder: Path) -> None:
    is_free = not any(folder.iterdir()) if folder.is_dir() else not os.path.lexists(folder)
    if not is_free:
        raise BaseModelError(
            f"A compact base is to be written to '{folder}', which is there already. Expected a folder that is not "
            "there, or an empty one. Name another folder, or remove this one."
        )


@contextmanager
def _new_folder(folder: Path) -> Generator[Path]:
    """Give a folder beside the wanted one, which takes its place once all is written."""
    part = folder.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        if folder.is_dir():
            # Empty: removing a full one fails. Not every system renames to a folder that is there.
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise BaseModelError(
            f"The compact base cannot be written to '{folder}': {error.strerror or error}. Expected a place with room "
            "that may be written to. Name another folder."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
