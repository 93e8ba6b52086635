"""A tiny base as files that the peers' environment reads."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from polygraft.base.base import Base


def write_peer_base(base: Base, folder: Path) -> Path:
    """Write a base's configuration and weights, and beside its folder the inputs."""
    folder.mkdir(parents=True)
    base.model.config.to_json_file(folder / "config.json", use_diff=False)
    tensors = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(9) < torch.tensor([9, 6, 4])[:, None]).long()
    ids = torch.randint(5, base.sites.vocab, (3, 9), generator=generator)
    inputs = {"input_ids": ids.where(mask.bool(), torch.tensor(1)), "attention_mask": mask}
    path = folder.parent / "inputs.safetensors"
    save_file(inputs, path)
    return path
