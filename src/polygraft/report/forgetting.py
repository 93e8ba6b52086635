"""What each method forgot of earlier tasks: a table, the matrix of scores, and its heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polygraft.evaluate.deviation import standard_deviation
from polygraft.evaluate.forgetting import Forgetting, History, measure_forgetting
from polygraft.report.cells import DASH, Cell, Table
from polygraft.report.heat import Box, Layout, draw_cell, head_names, plot_map
from polygraft.report.numbers import format_difference, format_score
from polygraft.report.scores import list_sources, name_test
from polygraft.report.summary import RunSummary
from polygraft.report.svg import Scale, choose_ticks, cut_text


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What one method forgot, over its seeds."""

    method: str
    tasks: tuple[str, ...]
    """In the order in which they were learned."""
    stages: tuple[str, ...]
    """The tasks after which they were scored, in order."""
    matrix: tuple[tuple[float | None, ...], ...]
    """The score of each task after each, the mean over the seeds; None before it was learned."""
    averages: tuple[float, ...]
    """The average forgetting of each seed."""
    transfers: tuple[float, ...]
    """The backward transfer of each seed."""
    num_same: int
    """Test sets, of all seeds and later tasks, that were predicted as before, label by label."""
    num_compared: int
    is_same: bool | None
    """Whether all were; None where not all predictions are known."""
    silent: tuple[str, ...] = ()
    """The earlier tasks in which nothing at all was predicted after they were learned, with any seed."""

    @property
    def had_nothing(self) -> bool:
        """Whether that is so of every earlier task, so that nothing could be forgotten."""
        return len(self.silent) == len(self.tasks) - 1 > 0

    @property
    def average(self) -> float:
        """The mean of the seeds' average forgetting."""
        return _average(self.averages)

    @property
    def transfer(self) -> float:
        """The mean of the seeds' backward transfer."""
        return _average(self.transfers)


def list_forgotten(summary: RunSummary) -> tuple[Forgotten, ...]:
    """Say of each method of a run what it forgot; nothing where no earlier task was scored again."""
    found = measure_forgetting(summary.results, summary.rechecks)
    sources = list_sources(summary.results)
    methods = dict.fromkeys(each.method for each in found)
    return tuple(
        _join([each for each in found if each.method == method], sources=sources, name=summary.name)
        for method in methods
    )


def forgetting_table(forgotten: Sequence[Forgotten], *, ident: str) -> Table | None:
    """Lay out what each method forgot; None where nothing was measured."""
    if not forgotten:
        return None
    rows = tuple(
        (
            Cell(text=each.method, value=each.method),
            _measure_cell(each.averages),
            _measure_cell(each.transfers),
            Cell(text=say_same(each), value=each.num_same / each.num_compared if each.num_compared else None),
        )
        for each in forgotten
    )
    return Table(
        ident=ident,
        caption="What was forgotten of earlier tasks",
        columns=("Method", "Average forgetting", "Backward transfer", "Test sets predicted as before"),
        numeric=(False, True, True, True),
        rows=rows,
    )


def matrix_table(each: Forgotten, *, ident: str) -> Table:
    """Lay out a method's scores of every task after every task."""
    rows = tuple(
        (Cell(text=task, value=task), *(_matrix_cell(score) for score in line))
        for task, line in zip(each.tasks, each.matrix, strict=True)
    )
    return Table(
        ident=ident,
        caption=f"{each.method}: the score of each task after each task was learned",
        columns=("Task", *(f"After {stage}" for stage in each.stages)),
        numeric=(False, *(True for _ in each.stages)),
        rows=rows,
    )


def plot_matrix(each: Forgotten, *, ident: str, width: int) -> Markup:
    """Draw a method's scores of every task after every task, as coloured cells.

    Args:
        each: What to draw.
        ident: Unique in the page.
        width: In pixels; more tasks than fit make the picture wider.
    """
    wide = width >= 600
    left, top, height = (132.0, 34.0, 46.0) if wide else (92.0, 34.0, 42.0)
    column = min(max((width - left) / len(each.stages), 56.0), 132.0)
    known = [score for line in each.matrix for score in line if score is not None]
    ticks = choose_ticks(min(known), max(known), count=5)
    scale = Scale(low=max(ticks[0], 0.0), high=min(ticks[-1], 1.0), start=0.06, end=0.62)
    layout = Layout(left=left, top=top, height=height, column=column)

    def draw(line: int, index: int, box: Box) -> Markup | None:
        score = each.matrix[line][index]
        if score is None:
            return None
        text = format_score(score, metric="f1")
        hover = f"{each.tasks[line]} after {each.stages[index]}: {text}"
        return draw_cell(text, hover=hover, share=scale(score), box=box)

    return plot_map(
        head_names([f"after {stage}" for stage in each.stages], layout, lift=12),
        [cut_text(task, room=left - 6) for task in each.tasks],
        draw,
        layout=layout,
        title=f"Scores of {each.method}, task by task",
        description=" ".join(_describe(each, line) for line in range(len(each.tasks))),
        ident=ident,
    )


def say_same(each: Forgotten) -> str:
    """Say how many test sets were predicted as before, label by label."""
    if not each.num_compared:
        return "not known"
    if each.is_same and each.had_nothing:
        return "nothing was predicted"
    return f"{each.num_same} of {each.num_compared}"


def _join(found: Sequence[Forgetting], *, sources: dict[str, set[str]], name: str) -> Forgotten:
    """Put the seeds of a method together; a seed that learned other tasks than the first is left out."""
    first = found[0]
    alike = [each for each in found if _shape(each) == _shape(first)]
    tasks = tuple(name_test(history.task, history.source, sources=sources) for history in first.histories)
    stages = tasks if len(tasks) == len(first.stages) else first.stages
    rows = [
        tuple(_mean_at(alike, line, stage, num_stages=len(stages)) for stage in range(len(stages)))
        for line in range(len(tasks))
    ]
    compared = [history for each in alike for history in each.earlier]
    silent = tuple(
        task
        for line, task in enumerate(tasks)
        if all(len(each.histories[line].scores) > 1 and each.histories[line].is_silent for each in alike)
    )
    same = [each.is_same for each in alike]
    return Forgotten(
        method=first.method or name,
        tasks=tasks,
        stages=stages,
        matrix=tuple(rows),
        averages=tuple(each.average for each in alike),
        transfers=tuple(each.backward_transfer for each in alike),
        num_same=sum(history.num_same for history in compared),
        num_compared=sum(history.num_compared for history in compared),
        is_same=False if False in same else None if None in same else True,
        silent=silent,
    )


def _shape(each: Forgetting) -> tuple[object, ...]:
    return each.stages, tuple((item.task, item.source, len(item.scores)) for item in each.histories)


def _mean_at(found: Sequence[Forgetting], line: int, stage: int, *, num_stages: int) -> float | None:
    """Average a task's score after a stage: its scores end with the last stage."""
    scores = [_score_at(each.histories[line], stage - num_stages) for each in found]
    known = [score for score in scores if score is not None]
    return _average(known) if len(known) == len(found) else None


def _score_at(history: History, behind: int) -> float | None:
    return history.scores[behind] if -behind <= len(history.scores) else None


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _measure_cell(values: Sequence[float]) -> Cell:
    mean = _average(values)
    off = f"\u00b1 {format_score(standard_deviation(values), metric='f1')}" if len(values) > 1 else None
    return Cell(text=format_difference(mean, metric="f1"), value=mean, note=off)


def _matrix_cell(score: float | None) -> Cell:
    return Cell(text=DASH if score is None else format_score(score, metric="f1"), value=score)


def _describe(each: Forgotten, line: int) -> str:
    told = [
        f"{format_score(score, metric='f1')} after {stage}"
        for stage, score in zip(each.stages, each.matrix[line], strict=True)
        if score is not None
    ]
    return f"{each.tasks[line]}: {', '.join(told)}."
