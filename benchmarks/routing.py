"""Rows that go different ways in one batch, against one way for all and against switching grafts in a loop.

A batch of 64 rows over 1, 8, 32 and 64 different plans stack(language, task), in evaluation, on the bundled base. The
variants alternate; printed are medians of tokens a second and their ratio to one plan for all rows.

    python benchmarks/routing.py [--rounds 5] [--tokens 32] [--threads 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from peers.pairs import NUM_EACH, list_pairs
from peers.routes import make_grafts, make_plans

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.plan import Route
from polygraft.base.base import Base
from polygraft.base.load import load_base

NUM_ROWS = 64
NUM_PLANS = (1, 8, 32, 64)


def time_of(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(base: Base, *, num_tokens: int, rounds: int, only: int | None) -> dict[str, float]:
    """Measure all variants in turn, or one number of plans; medians of seconds a batch."""
    grafts = make_grafts(base, count=NUM_EACH)
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(5, 250_000, (NUM_ROWS, num_tokens), generator=generator)
    mask = torch.ones_like(input_ids)
    seconds: dict[str, list[float]] = {}

    def routed(attachment: Attachment, count: int) -> Callable[[], object]:
        rows = [index % count for index in range(NUM_ROWS)]
        return lambda: attachment.score_rows(input_ids, mask, rows=rows)

    def switching(count: int) -> None:
        for index, plan in enumerate(make_plans(list_pairs(count))):
            with attach(base, plan, grafts=grafts) as attachment:
                attachment.score(input_ids[index::count], mask[index::count])

    with torch.inference_mode():
        for number in range(rounds + 1):
            for count in NUM_PLANS if only is None else (only,):
                plan = Route(tuple(make_plans(list_pairs(count))))
                with attach(base, plan, grafts=grafts) as attachment:
                    spent = time_of(routed(attachment, count))
                if number:
                    seconds.setdefault(f"routed {count}", []).append(spent)
            for count in NUM_PLANS[1:] if only is None else ():
                spent = time_of(lambda count=count: switching(count))
                if number:
                    seconds.setdefault(f"switching {count}", []).append(spent)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", type=int, help="one number of plans")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base("bundled", dtype=options.dtype)
    medians = measure(base, num_tokens=options.tokens, rounds=options.rounds, only=options.only)
    rates = {name: NUM_ROWS * options.tokens / spent for name, spent in medians.items()}
    if options.json:
        print(json.dumps(rates))
        return
    print(f"64 rows of {options.tokens} tokens, {options.threads} threads, {options.dtype}")
    for name, rate in rates.items():
        print(f"{name:14} {rate:9,.0f} tokens/s {rate / rates['routed 1']:6.2f}")


if __name__ == "__main__":
    main()
