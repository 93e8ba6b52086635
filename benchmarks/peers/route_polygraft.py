"""One batch over several plans by polygraft, timed: prints one line of JSON."""

from __future__ import annotations

from collections.abc import Callable

import torch
from measure import Job, draw_rows, report, time_passes
from pairs import NUM_EACH, list_pairs
from routes import make_grafts, make_plans
from torch import Tensor

from polygraft.attach.attach import attach
from polygraft.attach.graft import Graft
from polygraft.attach.plan import Plan, Route
from polygraft.base.base import Base
from polygraft.base.load import load_base

Pass = Callable[[], object]


def route(base: Base, plans: list[Plan], grafts: list[Graft], input_ids: Tensor, mask: Tensor) -> Pass:
    """Give what runs all rows at once; rows of one plan do not stand together."""
    attachment = attach(base, Route(tuple(plans)), grafts=grafts)
    rows = [index % len(plans) for index in range(len(input_ids))]
    return lambda: attachment.score_rows(input_ids, mask, rows=rows)


def switch(base: Base, plans: list[Plan], grafts: list[Graft], input_ids: Tensor, mask: Tensor) -> Pass:
    """Give what runs the rows of one plan after those of another."""

    def run() -> None:
        for index, plan in enumerate(plans):
            with attach(base, plan, grafts=grafts) as attachment:
                attachment.score(input_ids[index :: len(plans)], mask[index :: len(plans)])

    return run


WAYS = {"polygraft-routed": route, "polygraft-switched": switch}


def main() -> None:
    """Do the job of the command line."""
    job = Job.read()
    way, count = job.split_side()
    base = load_base(str(job.base))
    grafts, plans = make_grafts(base, count=NUM_EACH), make_plans(list_pairs(count))
    with torch.inference_mode():
        input_ids, mask = draw_rows(job.work)
        report(time_passes(job.work, WAYS[way](base, plans, grafts, input_ids, mask)))


if __name__ == "__main__":
    main()
