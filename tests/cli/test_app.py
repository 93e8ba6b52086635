"""The commands and their options, frozen: a change here is a change that users see."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.cli.conftest import Command

from polygraft.cli.app import app
from polygraft.cli.explain import describe_unexpected

LOADED = "--base --device --dtype --any-base --store"
TRAINED = (
    "--name --train --dev --under --steps --epochs --lr --batch-tokens --warmup --patience --seed --reduction "
    "--part --option --skip-layer --accumulate --checkpoint-every --precision --recompute --compile --dropout "
    f"--log-json --tracker --json {LOADED}"
)
LABELLED = f"{TRAINED} --fuse --head-lr-factor --head-layer --seeds --cache --cache-gib"
PRUNED = " ".join(
    option for option in TRAINED.split() if option not in ("--reduction", "--compile", "--part", "--option")
)
TEXT = "--format --text-column"
READ = f"{TEXT} --token-column --tag-column --label-column --label-names"
IMPORTED = "FOLDER --name --check --tolerance --base --store --json"
EXPORTED = "NAME FOLDER --version --base --any-base --store"
COMMANDS = {
    "": "--version --traceback",
    "quickstart": "--folder --json",
    "run": "RECIPE --set --dry-run --only --seed --log-json --tracker --json",
    "plan": "RECIPE --set --only --seed --json",
    "train": "",
    "train mlm": f"{TRAINED} --from-layer --invertible --negatives --vocabulary --rows --head-layer {TEXT}",
    "train causal": f"{TRAINED} --from-layer --invertible --negatives --vocabulary --rows --head-layer {TEXT}",
    "train tokens": f"{LABELLED} --format --token-column --tag-column --label-names",
    "train sequence": f"{LABELLED} {TEXT} --label-column --label-names",
    "prune": (
        "METHOD --objective --weights --values --weight-decay --sparsity --scope --levels --schedule --sparsities "
        "--criterion --score-batches --rewind --retrain --density --l1 --choice --units --compact --init --threshold "
        "--score-lr-factor --penalty "
        f"{PRUNED} --head-lr-factor --head-layer --negatives --vocabulary --rows {READ}"
    ),
    "evaluate": f"FILE --plan --objective --language --task --merge --json {READ} {LOADED}",
    "predict": f"[FILE] --plan --text --routed --merge --json {TEXT} {LOADED}",
    "grafts": "",
    "grafts list": "--store --json",
    "grafts show": "NAME --version --densities --base --any-base --store --json",
    "grafts compare": "A B --base --any-base --store --json",
    "grafts merge": "GRAFT... --name --how --weights --density --drop --scale --seed --base --store --json",
    "grafts verify": "[NAME]... --store --json",
    "grafts remove": "NAME --version --yes --store",
    "grafts rename": "OLD NEW --store",
    "grafts push": "NAME ADDRESS --version --overwrite --store",
    "grafts pull": "ADDRESS --name --store",
    "import": "",
    "import adapterhub": f"--head {IMPORTED}",
    "import peft": f"--labels {IMPORTED}",
    "import sft": f"--labels {IMPORTED}",
    "export": "",
    "export adapterhub": f"--safetensors --static-head --members {EXPORTED}",
    "export peft": EXPORTED,
    "export sft": EXPORTED,
    "report": "RUN... --out --json",
    "doctor": f"--plan --json {LOADED}",
    "bases": "--json",
    "bases show": "[NAME] --device --dtype --json",
}


def list_commands(command: Any, words: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Every command below a command, with its arguments and long options."""
    options = {
        next((text for text in parameter.opts if text.startswith("--")), parameter.metavar)
        for parameter in command.params
        if parameter.name != "help"
    }
    found = {" ".join(words): {str(option) for option in options}}
    for name, child in vars(command).get("commands", {}).items():
        found |= list_commands(child, (*words, name))
    return found


def test_the_commands_and_their_options_are_these():
    found = list_commands(typer.main.get_command(app))
    wanted = {name: set(words.split()) for name, words in COMMANDS.items()}
    wanted["bases show"] = {"NAME", "--device", "--dtype", "--json"}
    assert found == wanted


def run_python(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], input=text, capture_output=True, text=True, check=False, timeout=60
    )


def test_no_help_imports_torch_or_transformers():
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from polygraft.cli.app import app\n"
        "for words in sys.argv[1:]:\n"
        "    done = CliRunner().invoke(app, [*words.split(), '--help'])\n"
        "    assert done.exit_code == 0 and 'Usage: ' in done.stdout, words\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    done = run_python("-c", program, *COMMANDS)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_command_says_in_a_sentence_what_it_does():
    def check(command: Any) -> None:
        assert command.help.splitlines()[0].endswith((".", ":"))
        for child in vars(command).get("commands", {}).values():
            check(child)

    check(typer.main.get_command(app))


def test_the_version_is_the_packages(polygraft: Command):
    assert polygraft("--version").stdout == f"polygraft {version('polygraft')}\n"


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A program in which listing bases meets an error that nobody foresaw."""
    program = tmp_path / "broken.py"
    program.write_text(
        "import polygraft.base.sites\n"
        "del polygraft.base.sites.FAMILIES\n"
        "from polygraft.__main__ import main\n"
        "main()\n",
        encoding="utf-8",
    )
    return str(program)


def test_an_unforeseen_error_is_a_sentence_without_a_traceback(broken: str):
    done = run_python(broken, "bases")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "error: Something happened that polygraft did not expect (ImportError: cannot import name 'FAMILIES'"
    )
    assert "Traceback" not in done.stderr


def test_traceback_shows_where_an_unforeseen_error_came_from(broken: str):
    done = run_python(broken, "bases", "--traceback")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")


def test_the_sentence_for_an_unforeseen_error_names_it():
    assert describe_unexpected(ValueError("x\ny")) == (
        "Something happened that polygraft did not expect (ValueError: x). This is a defect of polygraft, not of your "
        "input. Give the same command with --traceback to see where, and report it with what is printed."
    )


def test_a_reader_that_goes_away_is_no_error(reader: Path):
    words = [sys.executable, "-m", "polygraft", "predict", "--plan", "ner", "-"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, stderr = process.communicate(b"ana went\n" * 2000, timeout=60)
    assert (process.returncode, stderr) == (0, b"")
