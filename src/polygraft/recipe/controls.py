"""Controls: what else stands under a task in place of the test language's own graft, to say what that one is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polygraft.errors import RecipeError, nearest
from polygraft.parts.kinds import OF_EMBEDDINGS


@dataclass(frozen=True, kw_only=True)
class Control:
    """One language graft, or none of the language's own, under a task that was trained over others."""

    about: str
    """What stands under the task."""
    needs: str
    """What a recipe must have for it."""
    is_made: bool = False
    """Whether it is a graft that is made of the language's own when it is needed, and not stored."""


RANDOM, OTHER, NEAREST, AVERAGE = "random", "other", "nearest", "average"
DROP_LAST, NO_INVERTIBLE = "drop-last", "no-invertible"
SUMMABLE = ("bottleneck", "compacter", "lora", "ia3", "bitfit", *OF_EMBEDDINGS)
"""Parts whose mean over several grafts is a part of the same kind."""
MEANT = f"language grafts made by lt-sft or of parts that have a mean ({', '.join(SUMMABLE)})"

CONTROLS: Mapping[str, Control] = {
    RANDOM: Control(
        about="the language's own graft, the values of each of its tensors in random order",
        needs="a test in a language with text, and language grafts that are no masks",
        is_made=True,
    ),
    OTHER: Control(
        about="the graft of the first language that is neither the source nor the test's",
        needs="a language that is neither the source nor the test's",
    ),
    NEAREST: Control(
        about="the graft of the other language whose text has the pieces of the test file most alike",
        needs="a test in a language beside which there is another one with text",
    ),
    AVERAGE: Control(
        about="the mean of the parameters of the grafts of all languages but the test's",
        needs=f"two languages beside the test's, and {MEANT}",
    ),
    DROP_LAST: Control(
        about="the language's own graft without its bottleneck in the last layer that has one",
        needs="a test in a language with text, language grafts with a bottleneck, and no train.task.source_weight",
        is_made=True,
    ),
    NO_INVERTIBLE: Control(
        about="the language's own graft without its invertible part",
        needs="a test in a language with text, language grafts with an invertible part beside another one, and no "
        "train.task.source_weight",
        is_made=True,
    ),
}
"""By name, in the order in which they are scored."""


def check_controls(controls: Sequence[str]) -> None:
    """Refuse controls that are not known, and what is there twice.

    Args:
        controls: As the recipe has them.

    Raises:
        RecipeError: One of these.
    """
    for place, name in enumerate(controls):
        if name not in CONTROLS:
            raise RecipeError(
                f"The recipe's controls have '{name}', which is none. Controls are {', '.join(CONTROLS)}."
                f"{nearest(name, CONTROLS)} Correct the name."
            )
        if name in controls[:place]:
            raise RecipeError(
                f"The recipe's controls have '{name}' twice. Expected each once. Leave one out."
            )
