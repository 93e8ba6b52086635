from __future__ import annotations

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.presets import language_graft, task_graft


def test_a_language_graft_is_a_wide_bottleneck_and_an_invertible_part():
    assert language_graft() == (Bottleneck(reduction=2), Invertible(reduction=2))
    assert language_graft(skip_layers=[11], invertible=False) == (Bottleneck(reduction=2, skip_layers=(11,)),)


def test_a_task_graft_is_a_narrow_bottleneck_and_a_head():
    labels = ("O", "B-LOC")
    assert task_graft(labels=labels) == (Bottleneck(reduction=16), Head(objective="tokens", labels=labels))
    assert task_graft(labels=labels, objective="sequence")[1] == Head(objective="sequence", labels=labels)
