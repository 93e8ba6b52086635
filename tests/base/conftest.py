from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import make_model, make_tokenizer
from transformers.utils import logging

WriteFolder = Callable[..., Path]


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write a tiny base as a Hugging Face folder, as a user's own model would be."""

    def write(name: str = "bert", *, with_head: bool = True, config: dict[str, object] | None = None) -> Path:
        folder = tmp_path / name
        whole = make_model(name)
        hook = logging.set_tqdm_hook(lambda factory, args, options: factory(*args, **options, disable=True))
        (whole if with_head else whole.base_model).save_pretrained(folder)
        logging.set_tqdm_hook(hook)
        make_tokenizer().save_pretrained(folder)
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write
