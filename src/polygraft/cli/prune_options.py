"""Options of `polygraft prune`, and the settings of a method that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from polygraft.errors import OptionError, nearest

if TYPE_CHECKING:
    from polygraft.recipe.methods import Method

IMP, LT_SFT, PIGGYBACK, MOVEMENT, STRUCTURED = "imp", "lt-sft", "piggyback", "movement", "structured"
SHARED = "Several methods"

MethodArgument = Annotated[
    str, typer.Argument(metavar="METHOD", help="imp, lt-sft, piggyback, packnet, movement or structured.")
]
ObjectiveOption = Annotated[
    Literal["tokens", "sequence", "mlm", "causal"],
    typer.Option("--objective", help="What is learned: a tag a word, a label a text, or plain text."),
]
TrainFileOption = Annotated[
    Path,
    typer.Option(
        "--train", metavar="FILE", help="CoNLL, label-tab-text, or plain text, as the objective says."
    ),
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="NAMES",
        show_default="linear",
        help="Weights: linear, bias, norm, embedding or a pattern of names; may be given several times.",
    ),
]
SkipWeightsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--skip-layer", metavar="N", help="A layer that is left as it is; may be given several times."
    ),
]
ValuesOption = Annotated[
    Literal["float32", "float16"] | None,
    typer.Option("--values", show_default="float32", help="Number format of the values that are stored."),
]
SparsityOption = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        metavar="X",
        help="Share of the weights that is pruned in the end (packnet: of the free ones).",
        rich_help_panel=SHARED,
    ),
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="Among which weights is chosen: global, tensor, row, or N:M such as 2:4.",
        rich_help_panel=SHARED,
    ),
]
LevelsOption = Annotated[
    int | None,
    typer.Option(
        "--levels", min=1, metavar="N", help="Number of rounds to reach --sparsity.", rich_help_panel=IMP
    ),
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="How --levels are spread: one-shot, linear, geometric or cubic.",
        rich_help_panel=IMP,
    ),
]
SparsitiesOption = Annotated[
    str | None,
    typer.Option(
        "--sparsities",
        metavar="X,X,...",
        help="The levels themselves, instead of --sparsity; 0 stores the dense one too.",
        rich_help_panel=IMP,
    ),
]
CriterionOption = Annotated[
    str | None,
    typer.Option(
        "--criterion",
        metavar="NAME",
        show_default="magnitude",
        help="What is kept: magnitude, change, movement, fisher, wanda (imp) or random.",
        rich_help_panel=SHARED,
    ),
]
ScoreBatchesOption = Annotated[
    int | None,
    typer.Option(
        "--score-batches",
        metavar="N",
        show_default="32",
        help="Batches for criteria that look at gradients or inputs.",
        rich_help_panel=SHARED,
    ),
]
RewindOption = Annotated[
    str | None,
    typer.Option(
        "--rewind",
        metavar="TO",
        help="Where survivors go on from: none, start, or a step of the dense training.",
        rich_help_panel=IMP,
    ),
]
RetrainOption = Annotated[
    Literal["between", "after", "never"] | None,
    typer.Option(
        "--retrain",
        show_default="between",
        help="Train on between the levels; after each, cut from the dense training (one-shot); or never.",
        rich_help_panel=IMP,
    ),
]
DensityOption = Annotated[
    float | None,
    typer.Option(
        "--density", metavar="X", help="Share of the weights that may change.", rich_help_panel=LT_SFT
    ),
]
L1Option = Annotated[
    float | None,
    typer.Option(
        "--l1", metavar="X", help="Weight of the mean absolute change in the loss.", rich_help_panel=LT_SFT
    ),
]
ChoiceOption = Annotated[
    Literal["change", "fisher", "random"] | None,
    typer.Option(
        "--choice",
        show_default="change",
        help="Keep what changed most, what the loss is most sensitive to, or places by chance.",
        rich_help_panel=LT_SFT,
    ),
]
InitOption = Annotated[
    float | None,
    typer.Option("--init", metavar="X", help="Scores at the start.", rich_help_panel=PIGGYBACK),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold", metavar="X", help="Score above which a weight survives.", rich_help_panel=PIGGYBACK
    ),
]
ScoreLrOption = Annotated[
    float | None,
    typer.Option(
        "--score-lr-factor",
        metavar="X",
        help="What the learning rate of the scores is multiplied by.",
        rich_help_panel=MOVEMENT,
    ),
]
PenaltyOption = Annotated[
    float | None,
    typer.Option(
        "--penalty",
        metavar="X",
        help="Weight of the scores' mean sigmoid in the loss.",
        rich_help_panel=MOVEMENT,
    ),
]

UnitsOption = Annotated[
    Literal["neurons", "heads"] | None,
    typer.Option(
        "--units",
        show_default="neurons",
        help="What is removed: feed-forward neurons or attention heads.",
        rich_help_panel=STRUCTURED,
    ),
]
CompactOption = Annotated[
    Path | None,
    typer.Option(
        "--compact",
        metavar="FOLDER",
        help="Also write the base without what was removed, as a Hugging Face folder, and time it.",
        rich_help_panel=STRUCTURED,
    ),
]

DEFAULT_LEVELS = 5
DEFAULT_SCHEDULE = "geometric"
ONE_SHOT = "one-shot"


def make_method(kind: str, given: dict[str, Any]) -> Method:
    """Make a method of the options that were given.

    Args:
        kind: The method's name.
        given: Values by the name of the method's field; None for what was not given. `levels` and `schedule` spread
            `sparsity` over the levels of `imp`.

    Raises:
        OptionError: There is no such method, or it has no such option, or a value cannot be meant.
    """
    from dataclasses import fields

    from polygraft.recipe.methods import METHODS

    if kind not in METHODS:
        raise OptionError(
            f"There is no method '{kind}'. Known are {', '.join(METHODS)}.{nearest(kind, METHODS)} Correct the name."
        )
    values = {name: value for name, value in given.items() if value is not None}
    if kind == IMP:
        values = _spread(values)
    known = [field.name for field in fields(METHODS[kind])]
    for name in values:
        if name not in known:
            raise OptionError(
                f"The method '{kind}' has no --{name.replace('_', '-')}. Its own options are "
                f"{', '.join(_name_options(kind, known))}. Leave it out."
            )
    return METHODS[kind](**values)


def _spread(values: dict[str, Any]) -> dict[str, Any]:
    """Turn a sparsity, a number of levels and a schedule into the levels of `imp`."""
    from polygraft.prune.schedule import list_sparsities

    final, levels, schedule = (values.pop(name, None) for name in ("sparsity", "levels", "schedule"))
    if "sparsities" in values:
        if (final, levels, schedule) != (None, None, None):
            raise OptionError(
                f"Both --sparsities {values['sparsities']} and --sparsity, --levels or --schedule were given. Expected "
                "the levels themselves, or how they are spread. Leave one out."
            )
        return {**values, "sparsities": _read_shares(values["sparsities"])}
    if final is None and levels is None and schedule is None:
        return values
    # N of M is one share, which no round but the last could have.
    is_pattern = ":" in values.get("scope", "")
    spread = list_sparsities(
        schedule or DEFAULT_SCHEDULE,
        final=0.9 if final is None else final,
        num_levels=levels or (1 if schedule == ONE_SHOT or is_pattern else DEFAULT_LEVELS),
    )
    return {**values, "sparsities": spread}


def _read_shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise OptionError(
            f"The sparsities '{text}' are no numbers. Expected shares with commas between them. Write them as in "
            "--sparsities 0.5,0.8,0.9."
        ) from None


def _name_options(kind: str, known: list[str]) -> list[str]:
    """Name the options by which the fields of a method are set."""
    names = {"dtype": "values", "num_batches": "score_batches"}
    listed = [names.get(name, name) for name in known if name not in ("start_share", "end_share", "every")]
    more = ["sparsity", "levels", "schedule"] if kind == IMP else []
    return [f"--{name.replace('_', '-')}" for name in (*listed, *more)]
