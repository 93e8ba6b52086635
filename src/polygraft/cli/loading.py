"""Bases and attachments for commands, with what is slow said on standard error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polygraft.cli.console import make_console, say
from polygraft.settings import load_launch

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base


def quieten_libraries() -> None:
    """Keep the bars, warnings and advice of the libraries below off the terminal."""
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


@contextmanager
def waiting(sentence: str) -> Generator[None]:
    """Say on a terminal what is being waited for."""
    console = make_console(stderr=True)
    if not (console.is_terminal and load_launch().is_first):
        yield
        return
    with console.status(sentence):
        yield


def open_base(name: str, *, device: str = "auto", dtype: str = "auto") -> Base:
    """Load a base.

    Raises:
        BaseModelError: It cannot be loaded.
    """
    with waiting(f"Loading the base '{name}' ..."):
        from polygraft.base.load import load_base

        quieten_libraries()
        return load_base(name, device=device, dtype=dtype)


@contextmanager
def open_attachment(
    plan: str, *, base: str, store: Path, device: str, dtype: str, any_base: bool, merged: bool = False
) -> Generator[Attachment]:
    """Load a base, put a plan of a store's grafts in force on it, and take it off at the end.

    With `merged`, what can be in the base's own weights is put there.

    Raises:
        PlanError: The plan cannot be read, or names a graft that is not there.
        FingerprintError: A graft was trained on another base.
    """
    from polygraft.attach.parse import parse_plan

    parse_plan(plan)
    loaded = open_base(base, device=device, dtype=dtype)
    from polygraft.attach.attach import attach
    from polygraft.attach.merge import merge
    from polygraft.store.store import Store

    put = merge if merged else attach
    with put(loaded, plan, store=Store(store), any_base=any_base) as attachment:
        for sentence in attachment.edits.list_conflicts():
            say(sentence)
        yield attachment
