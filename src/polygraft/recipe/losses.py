"""The step that measures how well every language's text is guessed by the base and with each language graft."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from polygraft.attach.attach import attach
from polygraft.attach.plan import Named, Plan, list_names, stack_names
from polygraft.data.fertility import measure_fertility
from polygraft.data.masking import Masking
from polygraft.data.read import read_texts
from polygraft.errors import DataError, PolygraftError
from polygraft.evaluate.language_loss import BASE, LanguageLoss, TextFacts, TextLosses, compare_losses
from polygraft.evaluate.text_loss import measure_rows
from polygraft.recipe.corpus import split_lines
from polygraft.recipe.objectives import list_scored, make_recipe_objective
from polygraft.recipe.steps import find_source
from polygraft.report.reader import from_plain, to_plain
from polygraft.store.files import replace_file
from polygraft.train.loop import Interrupted

if TYPE_CHECKING:
    from pathlib import Path

    from polygraft.attach.attach import Attachment
    from polygraft.base.base import Base
    from polygraft.recipe.schema import Recipe
    from polygraft.recipe.steps import Job
    from polygraft.recipe.workshop import Workshop
    from polygraft.train.causal import CausalLm
    from polygraft.train.mlm import MaskedLm

Rows = NDArray[np.float64]


def measure_losses(workshop: Workshop, job: Job) -> Iterator[LanguageLoss | TextLosses]:
    """Measure the loss of every language's held-out text under the base and each language graft, telling each.

    Which pieces are guessed and scored is the same for all grafts, and what it is when a language's own graft is
    trained, so that its loss is the held-out loss of its manifest. At the end come all losses, with what the grafts
    learned from.

    Args:
        workshop: What the steps of the run share.
        job: The step.

    Raises:
        Interrupted: The run is to stop; the losses of this step so far are lost.
        RecipeError: A graft was not trained yet.
        DataError: No language has lines that are kept apart.
    """
    recipe, base = workshop.recipe, workshop.base
    plans = list_loss_plans(recipe, base)
    texts = [name for name in recipe.languages if workshop.corpus.read_language(name).held_out is not None]
    if not texts:
        raise DataError(
            f"The step '{job.name}' has no text to measure on: each of {', '.join(recipe.languages)} has one line. "
            "Expected two or more of one language at least. Give longer texts, or leave text_losses out."
        )
    objectives = {name: _make_objective(workshop, name) for name in texts}
    rows: dict[str, dict[str, Rows]] = {name: {} for name in texts}
    for of, plan in plans.items():
        grafts = {} if plan is None else {each.name: workshop.get(each.name) for each in list_names(plan)}
        with attach(base, plan, grafts=grafts) as attachment:
            for language in texts:
                if workshop.should_stop():
                    num_done = sum(map(len, rows.values()))
                    raise Interrupted(
                        f"The measuring of text losses was stopped after {num_done} of {len(plans) * len(texts)}, "
                        "which are not kept. All grafts are. Give the same command again to measure anew."
                    )
                rows[language][of] = _measure_text(workshop, attachment, language, objectives[language])
    written = {of: "" if plan is None else str(plan) for of, plan in plans.items()}
    losses: list[LanguageLoss] = []
    for language, by_graft in rows.items():
        found = compare_losses(language, by_graft, plans=written)
        losses += found
        yield from found
    facts = tuple(_describe_text(workshop, name) for name in recipe.languages)
    yield TextLosses(seed=recipe.text_seed, losses=tuple(losses), texts=facts)


def list_loss_plans(recipe: Recipe, base: Base) -> dict[str, Plan | None]:
    """List the plans under which texts are measured, by the language whose graft is there; the base's is first.

    Args:
        recipe: A variant with language grafts.
        base: The base: where it has no head for guessing pieces, the graft with one is in every plan.
    """
    variant = recipe.variant
    if base.head is not None:
        own: dict[str, Plan | None] = {name: Named(variant.name_language(name)) for name in recipe.languages}
        return {BASE: None, **own}
    head = variant.name_mlm()
    over: dict[str, Plan | None] = {
        name: stack_names([head, variant.name_language(name)]) for name in recipe.languages
    }
    return {BASE: Named(head), **over}


def _make_objective(workshop: Workshop, language: str) -> MaskedLm | CausalLm:
    """Make what a language's own graft learns by, ready."""
    recipe = workshop.recipe
    text = workshop.corpus.read_with_source(language, find_source(recipe))
    objective = make_recipe_objective(recipe, workshop.base, text, mask_rate=recipe.train.language.mask_rate)
    objective.get_ready(workshop.base)
    return objective


def _measure_text(
    workshop: Workshop, attachment: Attachment, language: str, objective: MaskedLm | CausalLm
) -> Rows:
    """Measure one text, as `make_held_out_loss` does while its own graft is trained."""
    held_out = workshop.corpus.read_language(language).held_out
    assert held_out is not None
    return measure_rows(
        attachment,
        held_out,
        vocabulary=list_scored(workshop.base, objective, held_out),
        masking=Masking(),
        seed=workshop.recipe.text_seed,
        num_negatives=objective.num_negatives,
        chances=objective.chances,
    )


def _describe_text(workshop: Workshop, language: str) -> TextFacts:
    recipe, tokenizer = workshop.recipe, workshop.base.tokenizer
    data, graft = recipe.languages[language], recipe.variant.name_language(language)
    lines = read_texts(data.text, data.reading, max_lines=data.max_lines)
    _, apart = split_lines(lines, num_held_out=recipe.train.language.held_out)
    found = measure_fertility(apart or lines, tokenizer)
    return TextFacts(
        language=language,
        graft=graft,
        num_tokens=workshop.corpus.read_language(language).num_pieces,
        num_seen=int(workshop.manifests[graft].cost.get("tokens", 0)),
        tokens_per_word=found.tokens_per_word,
        single_share=found.single_share,
        unknown_share=found.unknown_share,
    )


def find_losses(recipe: Recipe) -> Path:
    """Give the folder of what steps that measure texts gave."""
    return recipe.folder / "losses"


def save_losses(folder: Path, digest: str, losses: TextLosses) -> None:
    """Keep what a step measured, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{digest}.json", json.dumps(to_plain(losses)).encode())


def load_losses(folder: Path, digest: str) -> TextLosses | None:
    """Give what an earlier step of the same digest measured, or None if it is not there or cannot be read."""
    path = folder / f"{digest}.json"
    try:
        found: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return cast("TextLosses", from_plain(found, TextLosses, place=path.name))
    except (OSError, ValueError, PolygraftError):
        # Measuring again gives the same numbers.
        return None
