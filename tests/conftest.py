"""What holds for every test: no network, no progress bars, one thread for each worker."""

from __future__ import annotations

import os

import pytest
from tests.source_tree import CHECKOUT, SourceTree

# Set before torch and the tokenizers are imported: they read these once. Several workers with several threads
# each would stand in each other's way.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# No test leaves anything in the user's own cache.
os.environ["POLYGRAFT_CACHE"] = "off"
# Terminals of different widths would break the lines that tests compare.
os.environ["COLUMNS"] = "120"
os.environ["NO_COLOR"] = "1"


@pytest.fixture
def tree() -> SourceTree:
    """The checkout, whose files the rules of ARCHITECTURE.md are about."""
    return CHECKOUT
