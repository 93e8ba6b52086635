"""Writes golden.safetensors beside this file: a coupling block of another library, its input and its output.

The coupling is FrEIA 0.2's, the two networks and the clamp of the scales are those of `adapters` 1.3.0, whose own
coupling of this kind raises an error for every input. FrEIA's file is read with a stand-in for scipy, which other
parts of it need. Run with both on the path: `python tests/formats/glow/make.py`. No test runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch

# transformers looks whether scipy is there.
from adapters.methods.modeling import GLOWCouplingBlock as Theirs
from safetensors.torch import save_file

for name in ("scipy", "scipy.stats", "scipy.special", "scipy.linalg", "scipy.sparse"):
    sys.modules[name] = MagicMock()

from FrEIA.modules.coupling_layers import GLOWCouplingBlock  # noqa: E402

SIZE = 16

if __name__ == "__main__":
    torch.manual_seed(0)
    theirs = Theirs([[SIZE]], non_linearity="tanh", reduction_factor=2)
    for value in theirs.parameters():
        value.data.normal_(std=0.7)
    block = GLOWCouplingBlock(
        [(SIZE,)],
        subnet_constructor=torch.nn.Linear,
        clamp=theirs.clamp,
        clamp_activation=lambda s: theirs.log_e(s) / theirs.clamp,
    )
    block.subnet1, block.subnet2 = theirs.s1, theirs.s2
    x = torch.randn(7, SIZE)
    with torch.no_grad():
        ((y,), _) = block([x])
        ((back,), _) = block([y], rev=True)
    assert (back - x).abs().max() < 1e-4
    tensors = {name: value.detach().clone() for name, value in theirs.state_dict().items()}
    save_file({**tensors, "x": x, "y": y.contiguous()}, Path(__file__).parent / "golden.safetensors")
