"""What the kinds of parts are for: which ones a graft may learn with, and how the others are made.

Apart from the table of parts, since the command line and recipes know these names without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEARNED: tuple[str, ...] = ("bottleneck", "lora", "ia3", "bitfit", "prefix", "prompt", "compacter")
"""What every graft may learn with."""
OF_EMBEDDINGS: tuple[str, ...] = ("invertible", "glow")
"""What a graft may have as well that learns from text: they change the embeddings, for a language."""

MAM = "mam"
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    MAM: {
        "prefix": {"length": 30, "reparameterization": 800},
        "bottleneck": {"placement": "parallel", "reduction": 2},
    },
}
"""Names for several parts, with those of their options that differ from a part's own defaults: `mam` is the
mix-and-match graft of He et al. 2022, section 4.6."""

MADE_OTHERWISE: Mapping[str, str] = {
    "delta": "which `polygraft prune lt-sft` makes",
    "mask": "which `polygraft prune` makes by the methods imp, piggyback, movement and packnet",
    "scores": "which a mask is learned with by `polygraft prune` and the methods piggyback and movement",
    "fusion": "which --fuse of `polygraft train tokens` and `polygraft train sequence` makes",
    "head": "which every graft that learns labels has beside its part, and one that learns from text with --head-layer",
}
"""The kinds that no graft is told to learn with, and how each is made."""
