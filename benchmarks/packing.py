"""How a language graft is best fed: sentences sorted by length, sentences packed into full rows, or one stream.

Three trainings by masked language modelling on the bundled base see the same number of pieces of the same text:

sorted   a sentence a row, batches of like lengths, as polygraft trains;
packed   several sentences a row of 128, each seeing only itself: a mask [B, 1, T, T] and positions that begin anew;
joined   sentences one after the other, a separator between them, cut into rows of 128: `rows = "joined"`.

They take turns, so that a machine whose speed drifts treats them alike. The loss is measured on sentences kept apart,
a sentence a row, as grafts are used.

    python benchmarks/packing.py [TEXT] [--steps 40] [--rounds 4] [--dtype fastest] [--threads N] [--seed 0]

Without a text it takes Quechua from the folder that POLYGRAFT_DATA names.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from polygraft.attach.attach import Attachment, attach
from polygraft.attach.depth import Depth
from polygraft.attach.graft import make_graft
from polygraft.attach.piece_loss import Decoder, sum_piece_loss
from polygraft.attach.plan import Named
from polygraft.base.base import Base
from polygraft.base.load import load_base
from polygraft.data.batches import plan_batches
from polygraft.data.collate import collate
from polygraft.data.encode import EncodedText
from polygraft.data.guess_batch import GuessBatch
from polygraft.data.joined import join_lines
from polygraft.data.masking import Masking, corpus_vocabulary, mask_batch
from polygraft.data.pieces import count_up
from polygraft.data.text import read_text
from polygraft.evaluate.text_loss import measure_masked_lm
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.head import Head
from polygraft.recipe.corpus import encode_texts, split_lines
from polygraft.train.loop import Training
from polygraft.train.objective import BOTTOM, Loss, Objective
from polygraft.train.settings import TrainSettings

TEXT = Path(os.environ.get("POLYGRAFT_DATA", "../shared/data")) / "text" / "qu.txt"
LENGTH = 128
BATCH_TOKENS = 2048
OPEN_ROWS = 64
"""Rows that are tried for a sentence before a new one is begun."""


class Feeding(Objective):
    """Masked language modelling on rows that may hold several sentences.

    Args:
        base: The base.
        text: The rows.
        sentence_of: The number of the sentence at each token; None where a row is read as one.
        vocabulary: The pieces that are scored.
    """

    name = "mlm"

    def __init__(
        self, base: Base, text: EncodedText, sentence_of: NDArray[np.int32] | None, vocabulary: Tensor
    ) -> None:
        self.text, self.sentence_of, self.vocabulary = text, sentence_of, vocabulary
        self.special = np.asarray(base.special_ids)
        self.num_pieces = 0
        self.num_cells = 0
        self.decoder: Decoder | None = None

    @override
    def lengths(self) -> NDArray[np.int64]:
        return self.text.lengths

    @override
    def compute_loss(
        self, attachment: Attachment, rows: NDArray[np.int64], *, seed: int, step: int, depth: Depth = BOTTOM
    ) -> Loss:
        base = attachment.base
        batch = collate(self.text, rows, pad_id=base.pad_id)
        self.num_pieces += int((~np.isin(batch.input_ids.numpy(), self.special)).sum())
        self.num_cells += batch.input_ids.numel()
        masked = mask_batch(
            batch,
            masking=Masking(),
            seed=seed,
            step=step,
            mask_id=base.mask_id,
            special_ids=base.special_ids,
            vocabulary=self.vocabulary,
        )
        if self.decoder is None:
            self.decoder = Decoder(attachment, self.vocabulary)
        if self.sentence_of is None:
            total = sum_piece_loss(attachment, masked, self.decoder)
        else:
            numbers = pad_numbers(self.text, self.sentence_of, rows, width=batch.input_ids.shape[1])
            total = self._sum_apart(attachment, masked, numbers)
        return Loss(total=total, num_targets=len(masked.targets), num_tokens=batch.num_tokens)

    def _sum_apart(self, attachment: Attachment, masked: GuessBatch, numbers: Tensor) -> Tensor:
        """The loss with attention inside each sentence only."""
        assert self.decoder is not None
        mask, positions = keep_apart(numbers, dtype=attachment.base.model.dtype)
        model = attachment.base.model
        usual = model.forward
        model.forward = partial(usual, position_ids=positions)
        try:
            apart = GuessBatch(
                input_ids=masked.input_ids,
                attention_mask=mask,
                positions=masked.positions,
                targets=masked.targets,
            )
            return sum_piece_loss(attachment, apart, self.decoder)
        finally:
            model.forward = usual


def pad_numbers(
    text: EncodedText, sentence_of: NDArray[np.int32], rows: NDArray[np.int64], *, width: int
) -> Tensor:
    """The number of the sentence at each cell of a batch [B, T], -1 at padding."""
    lengths = text.lengths[rows]
    padded = np.full((len(rows), width), -1, dtype=np.int64)
    padded[np.arange(width) < lengths[:, None]] = sentence_of[
        np.repeat(text.starts[rows], lengths) + count_up(lengths)
    ]
    return torch.from_numpy(padded)


def keep_apart(numbers: Tensor, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What is added to attention scores [B, 1, T, T] and the positions [B, T] that begin anew in each sentence."""
    same = numbers[:, :, None] == numbers[:, None, :]
    mask = torch.zeros(same.shape, dtype=dtype).masked_fill_(~same, torch.finfo(dtype).min)
    places = torch.arange(numbers.shape[1]).expand_as(numbers)
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    return mask[:, None], places - torch.where(begins, places, 0).cummax(1).values


def pack(text: EncodedText, *, seed: int) -> tuple[EncodedText, NDArray[np.int32]]:
    """Put shuffled sentences into rows of at most 128: each into the first open row that has room."""
    done: list[list[int]] = []
    open_rows: list[list[int]] = []
    room: list[int] = []
    for row in np.random.default_rng(seed).permutation(text.num_rows).tolist():
        size = int(text.starts[row + 1] - text.starts[row])
        place = next((place for place, left in enumerate(room) if left >= size), None)
        if place is None:
            if len(room) == OPEN_ROWS:
                fullest = int(np.argmin(room))
                done.append(open_rows.pop(fullest))
                room.pop(fullest)
            place = len(room)
            open_rows.append([])
            room.append(LENGTH)
        open_rows[place].append(row)
        room[place] -= size
    done += open_rows
    flat = [row for rows in done for row in rows]
    lengths = text.lengths[flat]
    ids = np.concatenate([text.ids[text.starts[row] : text.starts[row + 1]] for row in flat])
    sizes = [int(text.lengths[rows].sum()) for rows in done]
    packed = EncodedText(ids=ids, starts=np.concatenate([[0], np.cumsum(sizes)]))
    return packed, np.repeat(np.arange(len(flat), dtype=np.int32), lengths)


def check_apart(base: Base, packed: EncodedText, sentence_of: NDArray[np.int32]) -> float:
    """The largest difference between the sentences of the row that has the most and the same ones alone, as a share."""
    rows = np.argmax(sentence_of[packed.starts[1:] - 1] - sentence_of[packed.starts[:-1]], keepdims=True)
    batch = collate(packed, rows, pad_id=base.pad_id)
    numbers = pad_numbers(packed, sentence_of, rows, width=batch.input_ids.shape[1])
    mask, positions = keep_apart(numbers, dtype=base.model.dtype)
    worst = 0.0
    with torch.inference_mode():
        whole = base.model(
            input_ids=batch.input_ids, attention_mask=mask, position_ids=positions
        ).last_hidden_state[0]
        edges = [0, *(numbers[0].diff().nonzero().flatten() + 1).tolist(), numbers.shape[1]]
        for start, end in pairwise(edges):
            alone = base.model(input_ids=batch.input_ids[:, start:end]).last_hidden_state[0]
            worst = max(worst, float((whole[start:end] - alone).norm() / alone.norm()))
    return worst


def start(base: Base, objective: Feeding, *, num_pieces: int, seed: int) -> Training:
    """A language graft below a masked-LM head on layer 8, trained until it has seen so many pieces."""
    graft = make_graft(
        base,
        "new",
        [Bottleneck(reduction=2, skip_layers=(8, 9, 10, 11)), Head(objective="mlm", layer=8)],
        seed=seed,
    )
    known = ~np.isin(objective.text.ids, objective.special)
    batches = plan_batches(objective.lengths(), token_budget=BATCH_TOKENS, seed=seed, epoch=0)
    steps = round(num_pieces / (int(known.sum()) / len(batches)))
    return Training(
        base=base,
        graft=graft,
        plans=[Named("new")],
        grafts={"new": graft},
        objective=objective,
        settings=TrainSettings(steps=steps, batch_tokens=BATCH_TOKENS, lr=1e-3, seed=seed),
    )


def run_until(steps: Iterator[object], objective: Feeding, *, num_pieces: float) -> float:
    """Train until so many pieces were seen, or the end; gives the seconds."""
    started = time.perf_counter()
    while objective.num_pieces < num_pieces and next(steps, None) is not None:
        pass
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path, nargs="?", default=TEXT)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtype", default="fastest")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.text.is_file():
        print(f"skipped: there is no file {options.text}; name a text, or its folder by POLYGRAFT_DATA")
        return
    torch.set_num_threads(options.threads)
    base = load_base("bundled", dtype=options.dtype)
    train, held_out = encode_texts(
        *split_lines(read_text(options.text), num_held_out=300),
        base.tokenizer,
        max_length=LENGTH,
        source=options.text,
    )
    assert held_out is not None
    both = [corpus_vocabulary(text, special_ids=base.special_ids) for text in (train, held_out)]
    vocabulary = torch.cat(both).unique()
    packed, sentence_of = pack(train, seed=options.seed)
    print(f"a packed sentence differs from itself alone by {check_apart(base, packed, sentence_of):.1e}")
    feedings = {
        "sorted": Feeding(base, train, None, vocabulary),
        "packed": Feeding(base, packed, sentence_of, vocabulary),
        "joined": Feeding(base, join_lines(train, base.tokenizer, max_length=LENGTH), None, vocabulary),
    }
    num_pieces = options.steps * BATCH_TOKENS
    trainings = {
        name: start(base, feeding, num_pieces=num_pieces, seed=options.seed)
        for name, feeding in feedings.items()
    }
    runs = {name: training.run() for name, training in trainings.items()}
    rates: dict[str, list[float]] = {name: [] for name in feedings}
    for number in range(1, options.rounds + 1):
        for name, feeding in feedings.items():
            before = feeding.num_pieces
            wanted = num_pieces * number / options.rounds
            seconds = run_until(runs[name], feeding, num_pieces=wanted)
            rates[name].append((feeding.num_pieces - before) / seconds)
    for training in trainings.values():
        list(training.run())
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, {base.model.dtype}, {options.rounds} rounds"
    )
    for name, feeding in feedings.items():
        training = trainings[name]
        ratio = statistics.median(
            own / first for own, first in zip(rates[name], rates["sorted"], strict=True)
        )
        with torch.no_grad(), attach(base, Named("new"), grafts=training.grafts) as attachment:
            loss = measure_masked_lm(attachment, held_out, vocabulary=vocabulary, masking=Masking()).loss
        print(
            f"{name}  {feeding.num_pieces:8,} pieces in {training.progress.step} steps, "
            f"{statistics.median(rates[name]):7,.0f} pieces/s, ratio {ratio:.2f}, "
            f"padding {1 - training.progress.tokens / feeding.num_cells:.1%}, held-out loss {loss:.3f}"
        )


if __name__ == "__main__":
    main()
