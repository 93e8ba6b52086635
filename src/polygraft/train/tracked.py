"""What trackers were told of a training, in a small file, so that it goes on there after a stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Told(NamedTuple):
    """Where one tracker is with a training."""

    ident: str
    """What the tracker finds the run under."""
    last: int
    """The number of the last update that it was told."""


def write_told(path: Path, told: Mapping[str, Told], *, settings: Mapping[str, Any]) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file.
        told: What each tracker was told, by the tracker's name.
        settings: Those of the training.
    """
    text = json.dumps({"settings": _as_text(settings), "told": told})
    unfinished = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def read_told(path: Path, *, settings: Mapping[str, Any]) -> dict[str, Told]:
    """Give what each tracker was told, by its name; nothing where no file of these settings can be read.

    Args:
        path: The file.
        settings: Those of the training.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["settings"] != _as_text(settings):
            return {}
        return {name: Told(str(ident), int(last)) for name, (ident, last) in facts["told"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
