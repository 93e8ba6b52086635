from __future__ import annotations

from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.parts.invertible import Invertible
from polygraft.parts.prefix import Prefix
from polygraft.parts.presets import language_graft, mam_graft, task_graft


def test_a_language_graft_is_a_wide_bottleneck_and_an_invertible_part():
    assert language_graft() == (Bottleneck(reduction=2), Invertible(reduction=2))
    assert language_graft(skip_layers=[11], invertible=False) == (Bottleneck(reduction=2, skip_layers=(11,)),)


def test_a_task_graft_is_a_narrow_bottleneck_and_a_head():
    labels = ("O", "B-LOC")
    assert task_graft(labels=labels) == (Bottleneck(reduction=16), Head(objective="tokens", labels=labels))
    assert task_graft(labels=labels, objective="sequence")[1] == Head(objective="sequence", labels=labels)


def test_a_mix_and_match_graft_is_a_prefix_a_parallel_bottleneck_and_a_head():
    labels = ("O", "B-LOC")
    assert mam_graft(labels=labels) == (
        Prefix(length=30, reparameterization=800),
        Bottleneck(placement="parallel", reduction=2),
        Head(objective="tokens", labels=labels),
    )
    prefix, bottleneck, head = mam_graft(
        labels=labels, length=3, reduction=8, skip_layers=[0], objective="sequence"
    )
    assert prefix == Prefix(length=3, reparameterization=800, skip_layers=(0,))
    assert bottleneck == Bottleneck(placement="parallel", reduction=8, skip_layers=(0,))
    assert head == Head(objective="sequence", labels=labels)
