"""polygraft: one frozen pretrained model, many small grafts.

Public names are loaded on first use, so that `import polygraft` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polygraft.lazy import make_lazy

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.attach.graft import Graft, make_graft
    from polygraft.attach.merge import merge
    from polygraft.attach.parse import parse_plan
    from polygraft.attach.plan import average, fuse, parallel, route, stack
    from polygraft.base.base import Base
    from polygraft.base.load import load_base
    from polygraft.errors import PolygraftError
    from polygraft.evaluate.run import predict_tags, predict_texts, score_tags
    from polygraft.parts.bitfit import BitFit
    from polygraft.parts.bottleneck import Bottleneck
    from polygraft.parts.fusion import Fusion
    from polygraft.parts.head import Head
    from polygraft.parts.ia3 import IA3
    from polygraft.parts.invertible import Invertible
    from polygraft.parts.lora import Lora
    from polygraft.parts.prefix import Prefix
    from polygraft.parts.presets import language_graft, task_graft
    from polygraft.recipe.read import load_recipe
    from polygraft.recipe.run import run_recipe
    from polygraft.store.store import Store

__all__ = [
    "IA3",
    "Attachment",
    "Base",
    "BitFit",
    "Bottleneck",
    "Fusion",
    "Graft",
    "Head",
    "Invertible",
    "Lora",
    "PolygraftError",
    "Prefix",
    "Store",
    "average",
    "fuse",
    "language_graft",
    "load_base",
    "load_recipe",
    "make_graft",
    "merge",
    "parallel",
    "parse_plan",
    "predict_tags",
    "predict_texts",
    "route",
    "run_recipe",
    "score_tags",
    "stack",
    "task_graft",
]

__getattr__ = make_lazy(
    {
        "polygraft.attach.attach": ("Attachment",),
        "polygraft.attach.graft": ("Graft", "make_graft"),
        "polygraft.attach.parse": ("parse_plan",),
        "polygraft.attach.merge": ("merge",),
        "polygraft.attach.plan": ("average", "fuse", "parallel", "route", "stack"),
        "polygraft.base.base": ("Base",),
        "polygraft.base.load": ("load_base",),
        "polygraft.errors": ("PolygraftError",),
        "polygraft.evaluate.run": ("predict_tags", "predict_texts", "score_tags"),
        "polygraft.parts.bitfit": ("BitFit",),
        "polygraft.parts.bottleneck": ("Bottleneck",),
        "polygraft.parts.head": ("Head",),
        "polygraft.parts.ia3": ("IA3",),
        "polygraft.parts.invertible": ("Invertible",),
        "polygraft.parts.lora": ("Lora",),
        "polygraft.parts.fusion": ("Fusion",),
        "polygraft.parts.prefix": ("Prefix",),
        "polygraft.parts.presets": ("language_graft", "task_graft"),
        "polygraft.recipe.read": ("load_recipe",),
        "polygraft.recipe.run": ("run_recipe",),
        "polygraft.store.store": ("Store",),
    }
)
