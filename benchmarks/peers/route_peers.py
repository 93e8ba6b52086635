"""One batch over several adapters by `adapters` or `peft`, timed: prints one line of JSON. Runs in .venv-peers.

    python benchmarks/peers/route_peers.py '{"base": "FOLDER", "side": "adapters", "plans": 32, ...}'

`adapters` gets BatchSplit over stacks of a language and a task, `peft` `adapter_names` with a LoRA a plan, of about as
many values as a stack has. Neither has heads here, which only makes them faster.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

NUM_GRAFTS = 8
LORA_RANK = 16


def pair(index: int, *, count: int) -> tuple[int, int]:
    """Give the language and the task of a plan, as `benchmarks/routing.py` chooses them."""
    return divmod(index * NUM_GRAFTS**2 // count, NUM_GRAFTS)


def make_adapters(base: str, *, plans: int, rows: int) -> Callable[..., Any]:
    """Load the base with languages and tasks, and give what runs the batch."""
    from adapters import AutoAdapterModel, SeqBnConfig
    from adapters.composition import BatchSplit, Stack

    model = AutoAdapterModel.from_pretrained(base, attn_implementation="sdpa", torch_dtype=torch.float32)
    for index in range(NUM_GRAFTS):
        model.add_adapter(f"l{index}", config=SeqBnConfig(reduction_factor=2))
        model.add_adapter(f"t{index}", config=SeqBnConfig(reduction_factor=16))
    stacks = [
        Stack(f"l{one}", f"t{two}") for one, two in (pair(index, count=plans) for index in range(plans))
    ]
    size = rows // plans
    # Rows of one plan stand together already, as BatchSplit asks for.
    model.active_adapters = stacks[0] if plans == 1 else BatchSplit(*stacks, batch_sizes=[size] * plans)
    model.active_head = None
    return model.eval()


def make_peft(base: str, *, plans: int, rows: int) -> Callable[..., Any]:
    """Load the base with a LoRA a plan, and give what runs the batch."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    model = AutoModel.from_pretrained(base, attn_implementation="sdpa", torch_dtype=torch.float32)
    config = LoraConfig(r=LORA_RANK, target_modules=["query", "value"])
    wrapped: Any = get_peft_model(model, config, adapter_name="p0")
    for index in range(1, plans):
        wrapped.add_adapter(f"p{index}", config)
    wrapped.eval()
    names = [f"p{row * plans // rows}" for row in range(rows)]
    extra = {} if plans == 1 else {"adapter_names": names}
    return lambda **inputs: wrapped(**inputs, **extra)


def main() -> None:
    """Run the batch, and print the rates of all rounds."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    make = make_adapters if job["side"] == "adapters" else make_peft
    model = make(job["base"], plans=job["plans"], rows=job["rows"])
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(5, 250_000, (job["rows"], job["tokens"]), generator=generator)
    mask = torch.ones_like(input_ids)
    rates: list[float] = []
    with torch.inference_mode():
        for _ in range(job["repeats"] + 1):
            start = time.perf_counter()
            model(input_ids=input_ids, attention_mask=mask)
            rates.append(input_ids.numel() / (time.perf_counter() - start))
    print(json.dumps(rates[1:]))


if __name__ == "__main__":
    main()
