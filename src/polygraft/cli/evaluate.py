"""`polygraft evaluate`: the scores of a plan on a labelled file, or its loss on plain text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from polygraft.cli.console import say, show_table, write
from polygraft.cli.loading import open_attachment, waiting
from polygraft.cli.options import (
    PLAN_HELP,
    AnyBaseOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    MergeOption,
    StoreOption,
)
from polygraft.cli.reading import (
    FIRST,
    LAST,
    FormatOption,
    LabelColumnOption,
    LabelNamesOption,
    TagColumnOption,
    TextColumnOption,
    TokenColumnOption,
    make_reading,
)
from polygraft.types import TEXT_OBJECTIVES, UNKNOWN_LANGUAGE

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.data.reading import Reading
    from polygraft.evaluate.result import Result
    from polygraft.report.cells import Table

TEXT_LENGTH = 128
"""The most tokens of a row of text, as in training."""
CONDITION = "given"
"""What results call a plan that was named on the command line."""


def evaluate(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CoNLL for a plan that tags tokens, label-tab-text for one that labels texts, plain text for mlm "
            "and causal; or a table or dataset with such columns.",
        ),
    ],
    plan: Annotated[str, typer.Option("--plan", metavar="PLAN", help=PLAN_HELP)],
    objective: Annotated[
        Literal["tokens", "sequence", "mlm", "causal"] | None,
        typer.Option("--objective", help="What to score; what the plan's head is for if not given."),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="CODE", help="The file's language, for the result.")
    ] = UNKNOWN_LANGUAGE,
    task: Annotated[
        str | None, typer.Option("--task", metavar="NAME", help="The task's name, for the result.")
    ] = None,
    data_format: FormatOption = None,
    token_column: TokenColumnOption = FIRST,
    tag_column: TagColumnOption = LAST,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    label_names: LabelNamesOption = None,
    base: BaseOption,
    store: StoreOption,
    device: DeviceOption,
    dtype: DtypeOption,
    any_base: AnyBaseOption = False,
    merge: MergeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a plan on a labelled file, with a 95 % bootstrap interval."""
    reading = make_reading(
        data_format,
        token_column=token_column,
        tag_column=tag_column,
        text_column=text_column,
        label_column=label_column,
        label_names=label_names,
    )
    with open_attachment(
        plan, base=base, store=store, device=device, dtype=dtype, any_base=any_base, merged=merge
    ) as attachment:
        chosen = choose_objective(attachment, objective)
        with waiting(f"Scoring {file} ..."):
            if chosen in TEXT_OBJECTIVES:
                result = score_text(
                    attachment,
                    file,
                    reading=reading,
                    objective=chosen,
                    task=task or chosen,
                    language=language,
                )
            elif chosen == "sequence":
                result = score_labelled(
                    attachment, file, reading=reading, task=task or "sequence", language=language
                )
            else:
                result = score_tagged(
                    attachment, file, reading=reading, task=task or "tokens", language=language
                )
    show_result(result, as_json=as_json)


def choose_objective(attachment: Attachment, wanted: str | None) -> str:
    """Give what is to be scored: what was asked for, else what the plan's head is for.

    Raises:
        PlanError: Nothing was asked for and the plan has no head for labels, or one for another objective.
    """
    from polygraft.errors import PlanError

    if wanted is not None and wanted in TEXT_OBJECTIVES:
        return wanted
    own = attachment.find_head().options.objective
    if wanted is not None and wanted != own:
        raise PlanError(
            f"The head of the plan '{attachment}' is for '{own}', and --objective asks for '{wanted}'. "
            "Leave --objective out, or name another plan."
        )
    return own


def score_tagged(attachment: Attachment, file: Path, *, reading: Reading, task: str, language: str) -> Result:
    """Score a plan on tagged sentences."""
    from polygraft.data.read import read_sentences
    from polygraft.evaluate.run import score_tags

    sentences = read_sentences(file, reading)
    return score_tags(
        attachment, sentences, task=task, language=language, condition=CONDITION, source=str(file)
    )[0]


def score_labelled(
    attachment: Attachment, file: Path, *, reading: Reading, task: str, language: str
) -> Result:
    """Score a plan on labelled texts."""
    from polygraft.data.read import read_labelled_texts
    from polygraft.evaluate.run import score_texts

    texts = read_labelled_texts(file, reading)
    return score_texts(
        attachment, texts, task=task, language=language, condition=CONDITION, source=str(file)
    )[0]


def score_text(
    attachment: Attachment, file: Path, *, reading: Reading, objective: str, task: str, language: str
) -> Result:
    """Measure the loss of a plan on plain text, over all pieces: of hidden ones (mlm), or of the next one (causal)."""
    import time

    from polygraft.data.encode import encode_text
    from polygraft.data.masking import Masking
    from polygraft.data.read import read_texts
    from polygraft.evaluate.perplexity import perplexity
    from polygraft.evaluate.result import Result
    from polygraft.evaluate.run import find_max_length
    from polygraft.evaluate.text_loss import measure_causal_lm, measure_masked_lm

    lines = read_texts(file, reading)
    base = attachment.base
    max_length = min(TEXT_LENGTH, find_max_length(base, num_taken=attachment.num_taken))
    encoded = encode_text(lines, base.tokenizer, max_length=max_length, source=str(file))
    started = time.perf_counter()
    if objective == "causal":
        measured = measure_causal_lm(attachment, encoded, vocabulary=None)
        said = f"of which {measured.num_targets:,} were guessed from those before them"
    else:
        measured = measure_masked_lm(attachment, encoded, vocabulary=None, masking=Masking())
        said = f"of which {measured.num_targets:,} were hidden"
    seconds = time.perf_counter() - started
    return Result(
        task=task,
        language=language,
        condition=CONDITION,
        plan=str(attachment),
        metric="loss",
        score=measured.loss,
        perplexity=perplexity(measured.loss),
        num_sentences=len(lines),
        num_gold=measured.num_targets,
        seconds=seconds,
        tokens_per_second=encoded.num_tokens / seconds,
        seed=0,
        notes=(f"The text has {encoded.num_tokens:,} tokens, {said}.",),
    )


def show_result(result: Result, *, as_json: bool) -> None:
    """Show a row of scores, or write it as JSON."""
    from polygraft.evaluate.result import results_to_json

    if as_json:
        write(json.dumps(json.loads(results_to_json([result]))[0], ensure_ascii=False, indent=2) + "\n")
        return
    show_table(_draw_result(result))
    if result.by_type:
        show_table(_draw_types(result))
    for note in result.notes:
        say(note, style="yellow")


def _draw_result(result: Result) -> Table:
    from polygraft.report.cells import (
        Cell,
        Table,
        count_cell,
        format_interval,
        perplexity_cell,
        score_cell,
    )
    from polygraft.report.numbers import format_score

    beside = {
        "f1": {"Precision": score_cell(result.precision), "Recall": score_cell(result.recall)},
        "accuracy": {"Macro-F1": score_cell(result.macro_f1)},
        "loss": {"Perplexity": perplexity_cell(result.perplexity)},
    }[result.metric]
    metric = {"f1": "Entity F1", "accuracy": "Accuracy", "loss": "Loss"}[result.metric]
    cells = (
        Cell(text=result.plan, code=True),
        Cell(text=format_score(result.score, metric=result.metric), value=result.score),
        Cell(text=format_interval(result.low, result.high, metric=result.metric) or "\u2013"),
        *beside.values(),
        count_cell(result.num_sentences),
        count_cell(result.num_gold),
        count_cell(result.tokens_per_second),
    )
    names = ("Plan", metric, "95 %", *beside, "Sentences", "Gold items", "Tokens/s")
    numeric = (False, *(True for _ in names[1:]))
    return Table(
        ident="result",
        caption=result.task if result.language == UNKNOWN_LANGUAGE else f"{result.task}, {result.language}",
        columns=names,
        numeric=numeric,
        rows=(cells,),
    )


def _draw_types(result: Result) -> Table:
    from polygraft.report.cells import Cell, Table, count_cell, score_cell

    rows = tuple(
        (
            Cell(text=name, code=True),
            score_cell(score.f1),
            score_cell(score.precision),
            score_cell(score.recall),
            count_cell(score.num_gold),
        )
        for name, score in result.by_type.items()
    )
    return Table(
        ident="types",
        caption="By type",
        columns=("Type", "F1", "Precision", "Recall", "Gold"),
        numeric=(False, True, True, True, True),
        rows=rows,
    )
