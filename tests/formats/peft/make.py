"""Writes the folders beside this file: prompts and prefixes of PEFT on the tiny bases of ../adapterhub.

Run with peft 0.21.2 and transformers 4.57.6: `python tests/formats/peft/make.py`. No test runs it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel

HERE = Path(__file__).parent
CASES: dict[str, Any] = {
    "prompt": lambda: PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4),
    "prefix": lambda: PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3),
}


def make(family: str, case: str, config: PeftConfig) -> None:
    """Write one folder, and the last hidden state of the pieces [B, T, D] beside it."""
    source = HERE.parent / "adapterhub" / family
    torch.manual_seed(0)
    model = get_peft_model(AutoModel.from_pretrained(source / "base", add_pooling_layer=False), config).eval()
    # Some steps, so that the values are not what they were drawn as.
    inputs = load_file(source / "inputs.safetensors")
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        model(**inputs).last_hidden_state.square().sum().backward()
        optimiser.step()
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    folder = HERE / family
    model.save_pretrained(folder / case)
    (folder / case / "README.md").unlink(missing_ok=True)
    written = folder / case / "adapter_config.json"
    settings = {**json.loads(written.read_text()), "base_model_name_or_path": f"tiny-{family}"}
    written.write_text(json.dumps(settings, indent=1) + "\n")
    pieces = hidden[:, -inputs["input_ids"].shape[1] :].contiguous()
    save_file({"expected": pieces}, folder / f"expected-{case}.safetensors")


if __name__ == "__main__":
    for family in ("bert", "xlm-roberta"):
        for case, make_config in CASES.items():
            make(family, case, make_config())
