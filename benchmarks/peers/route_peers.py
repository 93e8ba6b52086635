"""One batch over several adapters by `adapters` or `peft`, timed: prints one line of JSON. Runs in .venv-peers.

`adapters` gets BatchSplit over stacks of a language and a task, `peft` `adapter_names` with a LoRA a plan, of a seventh
of the values that a stack has. Neither has heads here. Both only makes them faster, as it does that rows of one plan
stand together already, which BatchSplit asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measure import Job, draw_rows, report, time_passes
from pairs import NUM_EACH, list_pairs

LORA_RANK = 16
LOADING: dict[str, Any] = {"attn_implementation": "sdpa", "torch_dtype": torch.float32}


def split_batch(base: str, *, plans: int, rows: int) -> Callable[..., Any]:
    """Load the base with languages and tasks, and give what runs the batch."""
    from adapters import AutoAdapterModel, SeqBnConfig
    from adapters.composition import BatchSplit, Stack

    model = AutoAdapterModel.from_pretrained(base, **LOADING)
    for index in range(NUM_EACH):
        model.add_adapter(f"l{index}", config=SeqBnConfig(reduction_factor=2))
        model.add_adapter(f"t{index}", config=SeqBnConfig(reduction_factor=16))
    stacks = [Stack(f"l{language}", f"t{task}") for language, task in list_pairs(plans)]
    sizes = [rows // plans] * plans
    model.active_adapters = stacks[0] if plans == 1 else BatchSplit(*stacks, batch_sizes=sizes)
    model.active_head = None
    return model.eval()


def name_rows(base: str, *, plans: int, rows: int) -> Callable[..., Any]:
    """Load the base with a LoRA a plan, and give what runs the batch."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    config = LoraConfig(r=LORA_RANK, target_modules=["query", "value"])
    model: Any = get_peft_model(AutoModel.from_pretrained(base, **LOADING), config, adapter_name="p0")
    for index in range(1, plans):
        model.add_adapter(f"p{index}", config)
    model.eval()
    names = [f"p{row * plans // rows}" for row in range(rows)]
    extra = {} if plans == 1 else {"adapter_names": names}
    return lambda **inputs: model(**inputs, **extra)


WAYS = {"adapters-split": split_batch, "peft-named": name_rows}


def main() -> None:
    """Do the job of the command line."""
    job = Job.read()
    way, count = job.split_side()
    model = WAYS[way](str(job.base), plans=count, rows=job.work.num_rows)
    with torch.inference_mode():
        input_ids, mask = draw_rows(job.work)
        report(time_passes(job.work, lambda: model(input_ids=input_ids, attention_mask=mask)))


if __name__ == "__main__":
    main()
