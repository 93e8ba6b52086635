"""Runs that were stopped, and go on where they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import (
    BARE,
    HEADED,
    find_end,
    list_sentences,
    load,
    read_grafts,
    run_all,
    strip,
)

from polygraft.recipe.events import (
    TrainStep,
)
from polygraft.train.loop import Interrupted


def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(here: Path):
    whole = find_end(run_all(load(*BARE, "store=whole", "runs=whole/runs")))
    stops: list[str] = []
    while True:
        asked: list[int] = []

        def should_stop(asked: list[int] = asked) -> bool:
            asked.append(1)
            return len(asked) >= 3

        try:
            finished = find_end(run_all(load(*BARE), should_stop=should_stop))
            break
        except Interrupted as error:
            stops.append(str(error))
            if stops[-1].startswith("The scoring"):
                # Scoring starts anew each time, so it is left alone once it was stopped.
                finished = find_end(run_all(load(*BARE)))
                break
    assert len(stops) >= 6
    assert stops[0] == (
        "Training of 'mlm' was stopped after step 2 of 3, and all of it is saved. Give the same command again to "
        "go on."
    )
    assert stops[-1] == (
        "The scoring of 'ner' was stopped after 1 scores, which are not kept. All grafts are. Give the same command "
        "again to score anew."
    )
    assert read_grafts(Path("store")) == read_grafts(Path("whole"))
    assert strip(finished.summary.results) == strip(whole.summary.results)


def test_a_run_can_be_stopped_between_two_steps(here: Path):
    with pytest.raises(Interrupted) as caught:
        run_all(load(*HEADED), should_stop=lambda: True)
    assert str(caught.value) == (
        "The run was stopped before the step 'language.en', and all steps before it are saved. Give the same command "
        "again to go on."
    )


def test_a_damaged_checkpoint_is_told_in_the_run(here: Path):
    asked: list[int] = []
    recipe = load(*HEADED, "train.language.steps=5")
    with pytest.raises(Interrupted):
        run_all(recipe, should_stop=lambda: bool(asked.append(1)) or len(asked) == 4)
    [path] = Path("runs/recipe/checkpoints/language.en").iterdir()
    (path / "state.json").write_text("")
    events = run_all(recipe)
    assert list_sentences(events)[0] == (
        f"The checkpoint {path.name} in {path.parent} cannot be read (JSONDecodeError); training goes on from the one "
        "before, or from the start if there is none."
    )
    assert [event.step.number for event in events if isinstance(event, TrainStep)][:5] == [1, 2, 3, 4, 5]


def test_a_run_that_goes_on_says_where(here: Path):
    asked: list[int] = []
    with pytest.raises(Interrupted):
        run_all(load(*HEADED), should_stop=lambda: bool(asked.append(1)) or len(asked) == 3)
    assert list_sentences(run_all(load(*HEADED)))[0] == "Training of 'en' goes on after step 2 of 3."
