"""Reads a recipe from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polygraft.data.address import is_address, place_address
from polygraft.data.open import list_neighbours
from polygraft.errors import DataError, PolygraftError, RecipeError, nearest
from polygraft.recipe.comparison import check_comparison, list_variants
from polygraft.recipe.control_plans import check_use
from polygraft.recipe.data import LanguageData, TaskData
from polygraft.recipe.kinds import needs_languages
from polygraft.recipe.schema import Recipe
from polygraft.recipe.sources import spread_sources
from polygraft.recipe.tables import read_table, read_value
from polygraft.recipe.train_tables import TrainTables
from polygraft.recipe.under import check_source_weights
from polygraft.recipe.variants import MethodTable
from polygraft.settings import read_variable

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
PLAIN_KEYS: Mapping[str, Any] = {
    "name": str,
    "base": str,
    "revision": str,
    "device": str,
    "dtype": str,
    "store": Path,
    "runs": Path,
    "seed": int,
    "seeds": tuple[int, ...],
    "share_languages": bool,
    "forgetting": bool,
    "methods": tuple[str, ...],
    "controls": tuple[str, ...],
    "text_losses": bool,
}
"""Keys at the top of the file, with what they are."""
TABLES = ("data", "language", "task", "train", "method")


def load_recipe(
    path: Path,
    *,
    settings: Sequence[str] = (),
    lookup: Callable[[str], str | None] = read_variable,
) -> Recipe:
    """Read a recipe.

    Paths of data are relative to `data.root`, and that to the recipe's folder; `store` and `runs` are relative to the
    folder where the command is given.

    Args:
        path: The TOML file.
        settings: What to change, as `train.language.steps=200`; values are written as in TOML. One `seed` stands for
            all `seeds` of the file.
        lookup: Gives the value of an environment variable named as `${NAME}`.

    Raises:
        RecipeError: The file is not a recipe, or a data file is not there.
    """
    text, document = _read_document(path)
    settings = [*settings, *_replace_seeds(document, settings)]
    for setting in settings:
        _set(document, setting)
    written = text + "".join(f"\n# --set {setting}" for setting in settings)
    try:
        return build_recipe(document, name=path.stem, folder=path.parent, text=written, lookup=lookup)
    except PolygraftError as error:
        error.add_note(f"({path})")
        raise


def _read_document(path: Path) -> tuple[str, dict[str, Any]]:
    """Give the text of a TOML file, and what it says."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        near = nearest(path.name, (name for name in list_neighbours(path) if name.endswith(".toml")))
        raise RecipeError(
            f"There is no recipe '{path}'.{near} Expected a TOML file. Check the path."
        ) from None
    except IsADirectoryError:
        raise RecipeError(
            f"'{path}' is a folder where a recipe was expected. Expected a TOML file. Name one of the files in it."
        ) from None
    except OSError as error:
        raise RecipeError(
            f"The recipe '{path}' cannot be read: {error.strerror or error}. Expected a TOML file that can be read. "
            "Check its path and permissions."
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"The recipe '{path}' is no text in UTF-8: byte {error.start + 1} of it is "
            f"0x{error.object[error.start]:02X}, which is not UTF-8 there. Expected a TOML file in UTF-8. Name another "
            "file, or save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not TOML: {error}. Correct that line.") from None


def build_recipe(
    document: Mapping[str, Any], *, name: str, folder: Path, text: str, lookup: Callable[[str], str | None]
) -> Recipe:
    """Make a recipe of a TOML document."""
    document = _expand(document, lookup)
    unknown = [key for key in document if key not in (*PLAIN_KEYS, *TABLES)]
    if unknown:
        known = (*PLAIN_KEYS, *TABLES)
        raise RecipeError(
            f"The recipe has {unknown[0]}, which means nothing. Keys of a recipe are {', '.join(known)}."
            f"{nearest(unknown[0], known)} Correct the name."
        )
    data = read_value(Mapping[str, Any], document.get("data", {}), where="data")
    root = folder / read_value(Path, data.get("root", "."), where="data.root").expanduser()
    if set(data) - {"root"}:
        key = sorted(set(data) - {"root"})[0]
        raise RecipeError(
            f"The recipe has data.{key}, which means nothing. [data] has one key, root. Correct the name."
        )
    languages = read_value(Mapping[str, LanguageData], document.get("language", {}), where="language")
    tasks = read_value(Mapping[str, TaskData], spread_sources(_read_tables(document, "task")), where="task")
    train = read_table(TrainTables, document.get("train", {}), where="train")
    plain: dict[str, Any] = {"name": name}
    for key, hint in PLAIN_KEYS.items():
        if key in document:
            value = read_value(hint, document[key], where=key)
            plain[key] = value.expanduser() if isinstance(value, Path) else value
    methods, tables = (
        plain.get("methods", ()),
        read_value(Mapping[str, MethodTable], document.get("method", {}), where="method"),
    )
    check_comparison(methods=methods, seeds=plain.get("seeds", ()), tables=tables)
    if not languages and needs_languages(methods=methods, tables=tables, packs=train.task.packs):
        raise RecipeError(
            "The recipe has no language. Expected at least one [language.xx] with a text file. Add one."
        )
    recipe = Recipe(
        **plain,
        languages={key: _place_language(value, root, key) for key, value in languages.items()},
        tasks={key: _place_task(value, root, key) for key, value in tasks.items()},
        train=train,
        method=tables,
        text=text,
    )
    # What is set for a method is looked at before anything is trained.
    variants = list_variants(recipe)
    check_use(variants)
    check_source_weights(variants)
    if recipe.text_losses and all(each.train.task.packs or not each.languages for each in variants):
        raise RecipeError(
            "The recipe has text_losses = true and no method with language grafts, so no text would be measured. "
            "Expected one that has, such as madx. Add it to `methods`, or leave text_losses out."
        )
    return recipe


def _read_tables(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return read_value(Mapping[str, Any], document.get(name, {}), where=name)


def _expand(value: Any, lookup: Callable[[str], str | None]) -> Any:
    """Replace ${NAME} in every text of a document."""
    if isinstance(value, Mapping):
        return {key: _expand(item, lookup) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        found = lookup(match.group(1))
        if found is None:
            raise RecipeError(
                f"The recipe names the environment variable {match.group(1)}, which is not set. Expected the path of a "
                f"folder in it. Run `export {match.group(1)}=/path/to/data` first."
            )
        return found

    return VARIABLE.sub(look_up, value)


def _replace_seeds(document: Mapping[str, Any], settings: Sequence[str]) -> list[str]:
    """Give what has to be set so that a seed that was asked for is not passed over for those of the file."""
    keys = [setting.partition("=")[0].strip() for setting in settings]
    return ["seeds=[]"] if "seed" in keys and "seeds" not in keys and document.get("seeds") else []


def _set(document: dict[str, Any], setting: str) -> None:
    """Change one value of a document, as `train.language.steps=200` says."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            f"'{setting}' sets nothing. Expected a key and a value, such as train.language.steps=200. Correct it."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    table = document
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise RecipeError(f"'{setting}' sets a key of '{name}', which is a value. Correct the key.")
    table[last] = value


def _place_language(language: LanguageData, root: Path, name: str) -> LanguageData:
    return replace(language, text=_find(root, language.text, f"language.{name}.text"))


def _place_task(task: TaskData, root: Path, name: str) -> TaskData:
    return replace(
        task,
        train=_find(root, task.train, f"task.{name}.train"),
        dev=_find(root, task.dev, f"task.{name}.dev"),
        test={key: _find(root, path, f"task.{name}.test.{key}") for key, path in task.test.items()},
    )


def _find(root: Path, path: Path, where: str) -> Path:
    if is_address(path):
        try:
            return place_address(path, root)
        except DataError as error:
            error.add_note(f"({where})")
            raise
    found = (root / path).expanduser()
    if not found.is_file():
        raise RecipeError(
            f"The recipe has {where} = '{path}', and there is no file {found}. Data is looked for below data.root "
            f"({root}). Correct the path."
        )
    return found
