"""What is wrong with a recipe is said in whole sentences, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipe.material import RECIPE, load

from polygraft.errors import OptionError, PolygraftError, RecipeError, StoreError
from polygraft.recipe.quickstart import load_quickstart
from polygraft.recipe.read import load_recipe


def refuse(text: str, kind: type[PolygraftError] = RecipeError) -> str:
    """Load a recipe that is wrong, and give what is said of it."""
    Path("recipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(kind) as caught:
        load_recipe(Path("recipe.toml"), lookup={"DATA": "data"}.get)
    return str(caught.value)


def test_a_recipe_becomes_tables(here: Path):
    recipe = load()
    assert (recipe.name, recipe.base, recipe.seed) == ("recipe", "base", 0)
    assert recipe.languages["qu"].text == Path("data/qu.txt")
    assert recipe.tasks["ner"].test["sw"] == Path("data/sw.conll")
    assert (recipe.train.mlm.from_layer, recipe.train.language.steps, recipe.train.task.epochs) == (2, 3, 1)
    assert (recipe.train.language.lr, recipe.folder) == (5e-4, Path("runs/recipe"))


def test_settings_change_a_recipe_and_stand_in_its_text(here: Path):
    recipe = load("train.language.steps=7", "seed=4", "store=other/place", "train.task.skip_layers=[2]")
    assert (recipe.train.language.steps, recipe.seed, recipe.store) == (7, 4, Path("other/place"))
    assert recipe.train.task.skip_layers == (2,)
    assert recipe.text == RECIPE + (
        "\n# --set train.language.steps=7\n# --set seed=4\n# --set store=other/place"
        "\n# --set train.task.skip_layers=[2]"
    )


@pytest.mark.usefixtures("here")
def test_a_seed_that_is_asked_for_stands_for_all_seeds_of_the_recipe():
    Path("recipe.toml").write_text("seeds = [0, 1]\n" + RECIPE, encoding="utf-8")
    one = load("seed=7")
    assert (one.seed, one.seeds) == (7, ())
    assert one.text.endswith("\n# --set seed=7\n# --set seeds=[]")
    assert load("seed=7", "seeds=[3,4]").seeds == (3, 4)
    assert load().seeds == (0, 1)


def test_variables_are_filled_in(here: Path):
    Path("recipe.toml").write_text(RECIPE.replace('root = "data"', 'root = "${DATA}"'))
    recipe = load_recipe(Path("recipe.toml"), lookup={"DATA": str(here / "data")}.get)
    assert recipe.languages["en"].text == here / "data" / "en.txt"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "steps = 3\nfrom_layer = 2",
            "stepps = 3",
            "The recipe has train.mlm.stepps, which means nothing. Keys of [train.mlm] are steps, batch_tokens, "
            "accumulate, lr, from_layer, layer, reduction, mask_rate, dropout. Did you mean 'steps'? Correct the name.",
        ),
        (
            "[language.en]",
            "[languages.en]",
            "The recipe has languages, which means nothing. Keys of a recipe are name, base, revision, device, dtype, "
            "store, runs, seed, seeds, share_languages, forgetting, methods, controls, text_losses, data, language, "
            "task, train, method. Did you mean 'language'? Correct the name.",
        ),
        (
            'root = "data"',
            'rot = "data"',
            "The recipe has data.rot, which means nothing. [data] has one key, root. Correct the name.",
        ),
        (
            "steps = 3\nfrom_layer",
            'steps = "3"\nfrom_layer',
            "The recipe has train.mlm.steps = '3'. Expected a whole number. Correct the value.",
        ),
        (
            "steps = 3\nfrom_layer",
            "steps = true\nfrom_layer",
            "The recipe has train.mlm.steps = True. Expected a whole number. Correct the value.",
        ),
        (
            "epochs = 1",
            'ready_for = "all"',
            "The recipe has train.task.ready_for = 'all'. Expected one of 'source', 'targets'. Correct the value.",
        ),
        (
            "epochs = 1",
            "skip_layers = 2",
            "The recipe has train.task.skip_layers = 2. Expected a list. Correct the value.",
        ),
        (
            'text = "en.txt"',
            'text = "en.text"',
            "The recipe has language.en.text = 'en.text', and there is no file data/en.text. Data is looked for below "
            "data.root (data). Correct the path.",
        ),
        (
            'root = "data"',
            'root = "${NOWHERE}"',
            "The recipe names the environment variable NOWHERE, which is not set. Expected the path of a folder in "
            "it. Run `export NOWHERE=/path/to/data` first.",
        ),
        (
            'source = "en"',
            'source = "de"',
            "[task.ner] has source = 'de', and there is no [language.de]. Languages of the recipe are: en, qu. Add "
            "the table with a text file, or correct the source.",
        ),
        ('source = "en"\n', "", "The recipe lacks task.ner.source. [task.ner] needs it. Add it."),
        (
            "steps = 3\nheld_out = 2",
            "source_share = 1.0",
            "The recipe has train.language.source_share = 1.0. Expected a share from 0 up to (but not) 1. Correct the "
            "value.",
        ),
        (
            "steps = 3\nheld_out = 2",
            "negatives = -1",
            "The recipe has train.language.negatives = -1. Expected 0 or more. Correct the value.",
        ),
        (
            "steps = 3\nheld_out = 2",
            'negatives = 5\nvocabulary = "full"',
            "The recipe has train.language.negatives = 5. Expected 0 beside vocabulary = 'full', which scores all "
            "pieces. Correct the value.",
        ),
        (
            "steps = 3\nheld_out = 2",
            'rows = "packed"',
            "The recipe has train.language.rows = 'packed'. Expected one of 'sentences', 'joined'. Correct the value.",
        ),
        (
            'text = "qu.txt"',
            'text = "qu.txt"\nmax_lines = 0',
            "The recipe has language.qu.max_lines = 0. Expected 1 or more. Correct the value.",
        ),
        (
            'base = "base"\n[data]\nroot = "data"',
            'data = "data"',
            "The recipe has data = 'data'. Expected a table. Correct the value.",
        ),
        (
            'base = "base"',
            'base = "base"\nseed = 9223372036854775808',
            "The recipe has seed = 9223372036854775808. Expected 0 or more, and less than 2**63. Correct the value.",
        ),
        (
            'base = "base"',
            "train = 3",
            "'train' is 3. Expected a table. Write it as [train] with keys below it.",
        ),
    ],
)
def test_what_is_wrong_is_said(here: Path, old: str, new: str, sentence: str):
    text = RECIPE.replace(old, new)
    if new == "train = 3":
        text = text[: text.index("[train.mlm]")]
    assert text != RECIPE
    assert refuse(text) == f"{sentence} (recipe.toml)"


@pytest.mark.parametrize("name", ["en", "mlm"])
def test_two_tables_cannot_make_one_graft(here: Path, name: str):
    assert refuse(RECIPE.replace("task.ner", f"task.{name}")) == (
        f"[task.{name}] would make a graft called '{name}', and so would another step. Rename the table. (recipe.toml)"
    )


def test_a_task_cannot_be_named_as_another_alone(here: Path):
    tables = RECIPE[RECIPE.index("[task.ner]") : RECIPE.index("[train.mlm]")]
    assert refuse(RECIPE + tables.replace("task.ner", "task.ner-alone")) == (
        "[task.ner-alone] would make a graft called 'ner-alone', and so would another step. Rename the table. "
        "(recipe.toml)"
    )


def test_a_language_needs_a_name_that_a_graft_can_have(here: Path):
    said = refuse(RECIPE.replace("language.qu", 'language."q/u"'), StoreError)
    assert said.startswith(
        "'q/u' cannot be a graft's name. A name has 1 to 64 of the characters A-Z a-z 0-9 _ . -,"
    )


def test_a_file_of_any_name_is_a_recipe_once_its_run_has_a_name(here: Path):
    path = Path("mi receta ñ.toml")
    path.write_text(RECIPE, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, lookup={"DATA": "data"}.get)
    assert str(caught.value) == (
        "'mi receta ñ' cannot be a run's name, which is the recipe's key `name`, or the name of its file where it has "
        "none. Expected 1 to 64 of the characters A-Z a-z 0-9 _ . -, with a letter or digit first and no two dots in a "
        'row. Write name = "..." at the top of the recipe, or rename the file. (mi receta ñ.toml)'
    )
    path.write_text('name = "mi-receta"\n' + RECIPE, encoding="utf-8")
    assert load_recipe(path, lookup={"DATA": "data"}.get).folder == Path("runs/mi-receta")


def test_numbers_of_training_are_checked_before_it_begins(here: Path):
    said = refuse(RECIPE.replace("batch_tokens = 128", "batch_tokens = 3"), OptionError)
    assert said == (
        "Training has batch_tokens=3. Expected 8 or more. Give a larger number. ([train.task]) (recipe.toml)"
    )


def test_a_recipe_without_a_language_is_refused(here: Path):
    assert refuse('base = "base"\n') == (
        "The recipe has no language. Expected at least one [language.xx] with a text file. Add one. (recipe.toml)"
    )


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (
            "steps",
            "'steps' sets nothing. Expected a key and a value, such as train.language.steps=200. Correct it.",
        ),
        (
            "=3",
            "'=3' sets nothing. Expected a key and a value, such as train.language.steps=200. Correct it.",
        ),
        ("base.steps=3", "'base.steps=3' sets a key of 'base', which is a value. Correct the key."),
        (
            "train.task.epoch=3",
            "The recipe has train.task.epoch, which means nothing. Keys of [train.task] are epochs, steps, "
            "batch_tokens, lr, head_lr_factor, part, options, reduction, skip_layers, placement, activation, "
            "semantics, ready_for, "
            "under_strength, source_weight, warmup, weight_decay, dropout, patience, accumulate, cache, cache_gib, "
            "method, pruning. "
            "Did you mean 'epochs'? Correct the name. (recipe.toml)",
        ),
        (
            "train.task.epochs=few",
            "The recipe has train.task.epochs = 'few'. Expected a whole number. Correct the value. (recipe.toml)",
        ),
    ],
)
def test_settings_that_mean_nothing_are_said(here: Path, setting: str, sentence: str):
    with pytest.raises(RecipeError) as caught:
        load(setting)
    assert str(caught.value) == sentence


def test_toml_that_cannot_be_read_is_said_with_its_line(here: Path):
    assert refuse(RECIPE.replace("epochs = 1", "epochs 1")) == (
        "recipe.toml is not TOML: Expected '=' after a key in a key/value pair (at line 24, column 8). Correct that "
        "line."
    )


def test_a_recipe_that_is_not_there_is_said(here: Path):
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path("none.toml"))
    assert (
        str(caught.value)
        == "There is no recipe 'none.toml'. Did you mean 'recipe.toml'? Expected a TOML file. Check the path."
    )


def test_a_recipe_that_is_not_text_is_said(here: Path):
    Path("recipe.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(RecipeError) as caught:
        load()
    assert str(caught.value) == (
        "The recipe 'recipe.toml' is no text in UTF-8: byte 9 of it is 0xFF, which is not UTF-8 there. Expected a TOML "
        "file in UTF-8. Name another file, or save it as UTF-8."
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "data",
            "'data' is a folder where a recipe was expected. Expected a TOML file. Name one of the files in it.",
        ),
        (
            "recipe.tml",
            "There is no recipe 'recipe.tml'. Did you mean 'recipe.toml'? Expected a TOML file. Check the path.",
        ),
        (
            "recipe.toml/x",
            "The recipe 'recipe.toml/x' cannot be read: Not a directory. Expected a TOML file that can be read. Check "
            "its path and permissions.",
        ),
    ],
)
def test_a_recipe_that_cannot_be_opened_is_said(path: str, sentence: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe(Path(path))
    assert str(caught.value) == sentence


def test_a_byte_order_mark_is_no_part_of_a_recipe(here: Path):
    path = Path("recipe.toml")
    plain = load()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load() == plain


def test_the_quickstart_goes_where_it_was_told_whatever_the_folders_name(tmp_path: Path):
    folder = tmp_path / "it's ${HOME}"
    recipe = load_quickstart(folder)
    assert (recipe.store, recipe.runs) == (folder / "store", folder / "runs")
