from __future__ import annotations

import math

import pytest
import torch

from polygraft.parts.activation import ACTIVATIONS, find_activation

X = torch.tensor([-1.5, 0.0, 0.7])


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("relu", lambda x: max(x, 0)),
        ("gelu", lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        ("gelu_new", lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("swish", lambda x: x / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("leakyrelu", lambda x: x if x > 0 else 0.01 * x),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("linear", lambda x: x),
    ],
)
def test_an_activation_is_its_formula(name: str, formula):
    expected = [formula(x) for x in X.tolist()]
    assert find_activation(name)(X).tolist() == pytest.approx(expected, abs=1e-6)


def test_every_activation_is_tested():
    assert list(ACTIVATIONS) == [
        "relu",
        "gelu",
        "gelu_new",
        "swish",
        "tanh",
        "leakyrelu",
        "sigmoid",
        "linear",
    ]
