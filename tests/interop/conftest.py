"""The golden bases and folders of other libraries.

What runs in the peers' environment holds no test, and imports libraries that are not here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop import hub_folder, peft_folder
from tests.interop.golden import load_golden_base

from polygraft.base.base import Base

collect_ignore_glob = ["peer_*.py"]


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def hub_family(request: pytest.FixtureRequest) -> Path:
    """AdapterHub's folders for one kind of base after the other."""
    return hub_folder.HUB / request.param


@pytest.fixture(scope="module")
def hub_base(hub_family: Path) -> Base:
    return load_golden_base(hub_family)


@pytest.fixture(scope="module")
def hub_bert() -> Base:
    return load_golden_base(hub_folder.HUB / "bert")


@pytest.fixture
def ner(tmp_path: Path) -> hub_folder.Folder:
    """AdapterHub's adapter of a task."""
    return hub_folder.Folder(tmp_path, "adapters/ner")


@pytest.fixture
def qu(tmp_path: Path) -> hub_folder.Folder:
    """AdapterHub's adapter of a language."""
    return hub_folder.Folder(tmp_path, "adapters/qu")


@pytest.fixture(scope="module")
def peft_bert() -> Base:
    return load_golden_base(peft_folder.FOLDER / "bert")


@pytest.fixture
def lora(tmp_path: Path) -> peft_folder.Folder:
    """PEFT's LoRA."""
    return peft_folder.Folder(tmp_path)
