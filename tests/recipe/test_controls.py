"""Which controls a recipe has, where each means something, and what their digests change."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import load
from tests.tiny import make_base

from polygraft.base.base import Base
from polygraft.errors import RecipeError
from polygraft.recipe.comparison import list_variants
from polygraft.recipe.control_plans import list_made
from polygraft.recipe.controls import CONTROLS
from polygraft.recipe.corpus import Corpus
from polygraft.recipe.read import load_recipe
from polygraft.recipe.schema import Recipe
from polygraft.recipe.score import list_conditions
from polygraft.recipe.steps import list_jobs
from polygraft.report.plots import series_of
from polygraft.report.scores import CONDITIONS
from polygraft.report.words import CONDITION_WORDS

ALL = 'controls=["no-invertible","drop-last","average","nearest","other","random"]'
FOUR = (
    'language.ay={text="qu.txt",max_lines=12}',
    'language.gn={text="en.txt",max_lines=20}',
    "train.language.invertible=true",
)
NAMES = ["task alone", "none", *CONTROLS, "source"]


def list_plans(recipe: Recipe, language: str, *, nearest: str | None = None) -> dict[str, str]:
    return {
        name: str(plan) for name, plan in list_conditions(recipe, "ner", language, nearest=nearest).items()
    }


@pytest.mark.usefixtures("here")
def test_every_condition_of_a_target_with_text_stands_before_the_source_and_the_target():
    assert list_plans(load(ALL, *FOUR), "qu", nearest="gn") == {
        "task alone": "ner-alone",
        "none": "ner",
        "random": "stack(qu-random, ner)",
        "other": "stack(ay, ner)",
        "nearest": "stack(gn, ner)",
        "average": "stack(average(en, ay, gn), ner)",
        "drop-last": "stack(qu-drop-last, ner)",
        "no-invertible": "stack(qu-no-invertible, ner)",
        "source": "stack(en, ner)",
        "target": "stack(qu, ner)",
    }
    assert list(list_plans(load(ALL, *FOUR), "qu", nearest="gn")) == [*NAMES, "target"]


@pytest.mark.usefixtures("here")
def test_what_stands_in_for_the_own_graft_stands_in_its_mean_with_the_source():
    recipe = load('controls=["average","nearest","other","random"]', *FOUR, "train.task.source_weight=0.5")
    assert list_plans(recipe, "qu", nearest="gn") == {
        "task alone": "ner-alone",
        "none": "ner",
        "random": "stack(average(qu-random, en), ner)",
        "other": "stack(average(ay, en), ner)",
        "nearest": "stack(average(gn, en), ner)",
        "average": "stack(average(en, ay, gn), ner)",
        "source": "stack(en, ner)",
        "target": "stack(average(qu, en), ner)",
    }
    assert list_plans(recipe, "qu", nearest="en")["nearest"] == "stack(en, ner)"
    assert list_plans(recipe, "en", nearest="qu")["random"] == "stack(average(en-random, en), ner)"


@pytest.mark.usefixtures("here")
def test_the_sources_own_graft_has_controls_too():
    assert list_plans(load(ALL, *FOUR), "en", nearest="gn") == {
        "task alone": "ner-alone",
        "none": "ner",
        "random": "stack(en-random, ner)",
        "other": "stack(qu, ner)",
        "nearest": "stack(gn, ner)",
        "average": "stack(average(qu, ay, gn), ner)",
        "drop-last": "stack(en-drop-last, ner)",
        "no-invertible": "stack(en-no-invertible, ner)",
        "source": "stack(en, ner)",
    }


@pytest.mark.usefixtures("here")
def test_a_target_without_text_has_the_nearest_graft_and_the_mean_alone():
    assert list_plans(load(ALL, *FOUR), "sw", nearest="ay") == {
        "task alone": "ner-alone",
        "none": "ner",
        "nearest": "stack(ay, ner)",
        "average": "stack(average(en, qu, ay, gn), ner)",
        "source": "stack(en, ner)",
    }


@pytest.mark.usefixtures("here")
def test_controls_that_mean_nothing_in_a_language_are_left_out():
    two = load('controls=["other","random","average","drop-last"]')
    assert list(list_plans(two, "qu")) == ["task alone", "none", "random", "drop-last", "source", "target"]
    assert list(list_plans(two, "en")) == ["task alone", "none", "random", "other", "drop-last", "source"]
    masks = 'method.masks={kind="madx",language={method="imp"}}'
    compared = load(ALL, *FOUR, masks, 'methods=["madx","masks"]')
    found = list_plans(list_variants(compared)[1], "qu", nearest="gn")
    assert list(found) == ["none", "other", "nearest", "source", "target"]


@pytest.mark.parametrize(
    ("part", "controls"),
    [
        ('"lora"', ["random", "average"]),
        ('"prefix"', ["random"]),
        ('"mam"', ["random", "drop-last"]),
        ('["bottleneck","glow"]', ["random", "average", "drop-last", "no-invertible"]),
        ('"glow"', ["random", "average"]),
        ('["lora","prompt"]', ["random"]),
    ],
)
@pytest.mark.usefixtures("here")
def test_other_parts_have_the_controls_that_can_be_made_of_them(part: str, controls: list[str]):
    asked = ", ".join(f'"{name}"' for name in CONTROLS)
    other = f"method.parts={{kind='madx',language={{part={part}}}}}"
    recipe = load(
        f"controls=[{asked}]",
        *FOUR,
        other,
        'methods=["madx","parts"]',
        "method.parts.language.invertible=false",
    )
    found = list_plans(list_variants(recipe)[1], "qu")
    assert [name for name in found if name in CONTROLS] == [
        name for name in CONTROLS if name in (*controls, "other")
    ]


@pytest.mark.usefixtures("here")
def test_a_lora_with_norms_has_no_mean():
    table = "method.parts={kind='madx',language={part='lora',options={dora=true}}}"
    recipe = load('controls=["average","random"]', *FOUR[:2], table, 'methods=["madx","parts"]')
    assert "average" not in list_plans(list_variants(recipe)[1], "qu")


@pytest.mark.usefixtures("here")
def test_without_controls_nothing_else_is_scored():
    assert list(list_plans(load(*FOUR), "qu", nearest="gn")) == ["task alone", "none", "source", "target"]


@pytest.mark.usefixtures("here")
def test_only_methods_with_language_grafts_have_controls():
    recipe = load(ALL, *FOUR, 'methods=["bottleneck","madx","lt-sft"]', "seeds=[0,1]")
    found = {
        variant.variant.label: list_plans(variant, "qu", nearest="ay") for variant in list_variants(recipe)
    }
    assert found["bottleneck.seed-0"] == {"task alone": "ner-bottleneck"}
    assert list(found["madx.seed-1"]) == [*NAMES[1:], "target"]
    assert found["madx.seed-1"]["random"] == "stack(qu-random, ner-madx-seed-1)"
    assert found["lt-sft.seed-0"] == {
        "none": "ner-lt-sft",
        "random": "stack(qu-lt-sft-random, ner-lt-sft)",
        "other": "stack(ay-lt-sft, ner-lt-sft)",
        "nearest": "stack(ay-lt-sft, ner-lt-sft)",
        "average": "stack(average(en-lt-sft, ay-lt-sft, gn-lt-sft), ner-lt-sft)",
        "source": "stack(en-lt-sft, ner-lt-sft)",
        "target": "stack(qu-lt-sft, ner-lt-sft)",
    }


@pytest.mark.usefixtures("here")
def test_made_grafts_are_listed_with_what_they_are_made_of():
    assert list_made(load('controls=["drop-last","random"]')) == {
        "en-random": ("random", "en"),
        "en-drop-last": ("drop-last", "en"),
        "qu-random": ("random", "qu"),
        "qu-drop-last": ("drop-last", "qu"),
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ('controls=["rondom"]',),
            "The recipe's controls have 'rondom', which is none. Controls are random, other, nearest, average, "
            "drop-last, no-invertible. Did you mean 'random'? Correct the name.",
        ),
        (
            ('controls=["other","other"]',),
            "The recipe's controls have 'other' twice. Expected each once. Leave one out.",
        ),
        (
            ('controls=["no-invertible"]',),
            "The recipe has the control 'no-invertible', under which nothing would be scored. Expected a method with "
            "language grafts under its tasks, and a test in a language with text, language grafts with an invertible "
            "part beside another one, and no train.task.source_weight. Leave the control out, or add that.",
        ),
        (
            ('controls=["drop-last"]', "train.task.source_weight=0.5"),
            "The recipe has the control 'drop-last', under which nothing would be scored. Expected a method with "
            "language grafts under its tasks, and a test in a language with text, language grafts with a bottleneck, "
            "and no train.task.source_weight. Leave the control out, or add that.",
        ),
        (
            ('controls=["random"]', 'methods=["lora","bottleneck"]'),
            "The recipe has the control 'random', under which nothing would be scored. Expected a method with "
            "language grafts under its tasks, and a test in a language with text, and language grafts that are no "
            "masks. Leave the control out, or add that.",
        ),
        (
            ('controls=["average"]', "train.language.method=piggyback", *FOUR[:2]),
            "The recipe has the control 'average', under which nothing would be scored. Expected a method with "
            "language grafts under its tasks, and two languages beside the test's, and language grafts made by lt-sft "
            "or of parts that have a mean (bottleneck, compacter, lora, ia3, bitfit, invertible, glow). Leave the "
            "control out, or add that.",
        ),
        (
            ('controls=["random"]', 'language.qu-random={text="qu.txt"}'),
            "controls would make a graft called 'qu-random', and so would another step. Rename the table.",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_controls_that_cannot_be_meant_are_refused(settings: tuple[str, ...], sentence: str):
    with pytest.raises(RecipeError) as refusal:
        load(*settings)
    assert str(refusal.value) == f"{sentence} (recipe.toml)"


def digest(recipe: Recipe, base: Base | None = None) -> dict[str, str]:
    base = make_base("bert", with_head=False) if base is None else base
    return {
        job.name: job.digest
        for job in list_jobs(recipe, base, Corpus(recipe=recipe, tokenizer=base.tokenizer))
    }


@pytest.mark.parametrize("control", list(CONTROLS))
@pytest.mark.usefixtures("here")
def test_a_control_renews_scores_and_no_graft(control: str):
    before, after = digest(load(*FOUR)), digest(load(*FOUR, f'controls=["{control}"]'))
    assert [name for name in before if before[name] != after[name]] == ["evaluate.ner"]
    assert before.keys() == after.keys()


@pytest.mark.usefixtures("here")
def test_the_order_of_controls_changes_nothing():
    one, two = (
        f'controls=["{first}","{last}"]' for first, last in (("other", "random"), ("random", "other"))
    )
    assert digest(load(*FOUR, one)) == digest(load(*FOUR, two))


@pytest.mark.parametrize(("controls", "changed"), [('["nearest"]', ["evaluate.ner"]), ("[]", [])])
@pytest.mark.usefixtures("here")
def test_a_text_that_no_other_condition_needs_renews_the_scores_of_controls(
    controls: str, changed: list[str]
):
    settings = ('language.gn={text="gn.txt"}', f"controls={controls}")
    found = []
    for line in ("one", "two"):
        Path("data/gn.txt").write_text(f"a\nb\n{line}\n")
        found.append(digest(load(*settings), make_base("bert")))
    assert [name for name in found[0] if found[0][name] != found[1][name]] == ["language.gn", *changed]


@pytest.mark.usefixtures("here")
def test_another_order_of_languages_is_another_other_one():
    text = Path("recipe.toml").read_text()
    tables = ['[language.ay]\ntext = "qu.txt"\n', '[language.gn]\ntext = "en.txt"\n']
    digests = []
    for name, order in (("one", tables), ("two", tables[::-1])):
        Path(f"{name}.toml").write_text(f'controls = ["other"]\n{text}{"".join(order)}')
        digests.append(digest(load_recipe(Path(f"{name}.toml")), make_base("bert")))
    changed = [name for name in digests[0] if digests[0][name] != digests[1][name]]
    assert changed == ["evaluate.ner"]


def test_the_report_knows_every_control():
    assert list(CONDITIONS) == NAMES[1:2] + NAMES[:1] + NAMES[2:] + ["target"]
    assert CONDITION_WORDS.keys() == CONDITIONS.keys()
    numbers = [series_of(name, conditions=list(CONDITIONS)) for name in CONDITIONS]
    assert len(set(numbers)) == len(numbers)
