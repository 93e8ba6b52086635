from __future__ import annotations

import shutil

import pytest
from tests.cli.conftest import Command

SPARSE = ("--train", "tagged.conll", "--epochs", "1")


def test_a_sparse_graft_is_shown_with_its_density_in_each_weight(polygraft: Command):
    polygraft("prune", "lt-sft", "--name", "new", *SPARSE, "--density", "0.25")
    shown = polygraft("grafts", "show", "new").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["Weight", "Numbers", "Places", "Density"] in rows
    assert ["all", "5,376", "1,344", "25", "%"] in rows
    counts = [int(row[2].replace(",", "")) for row in rows if row and row[0].startswith("encoder.layer.")]
    assert (len(counts), sum(counts)) == (18, 1344)
    assert "What the delta changes;" in shown and "of a copy of these weights and" in " ".join(shown.split())


def test_without_its_base_only_the_manifest_is_shown(polygraft: Command):
    polygraft("prune", "piggyback", "--name", "new", *SPARSE)
    shutil.move("base", "elsewhere")
    done = polygraft("grafts", "show", "new")
    assert done.exit_code == 0
    assert "Density" not in done.stdout and "Part: mask" in done.stdout
    assert "Densities are not shown, since the base is needed for them." in done.stderr


@pytest.mark.parametrize("command", [("predict", "--text", "qam llaqta"), ("doctor",)])
def test_where_a_mask_wins_is_said_to_whoever_uses_the_plan(polygraft: Command, command: tuple[str, ...]):
    polygraft("prune", "lt-sft", "--name", "en", "--objective", "mlm", "--train", "text.txt", "--steps", "1")
    polygraft("prune", "imp", "--name", "new", *SPARSE, "--sparsities", "0.5")
    done = polygraft(*command, "--plan", "stack(en, new)")
    assert done.exit_code == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "The mask of 'new' wins over the graft 'en' below it at 269 places of" in said
