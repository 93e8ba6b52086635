from __future__ import annotations

import json

from tests.cli.conftest import Command

from polygraft.base.load import load_base
from polygraft.base.sites import FAMILIES


def test_bases_lists_every_family(polygraft: Command):
    found = json.loads(polygraft("bases", "--json").stdout)
    assert found["families"] == {family.name: list(family.model_types) for family in FAMILIES}
    assert found["machine"]["bundled_base"].startswith(("installed", "not installed"))


def test_show_gives_sizes_and_fingerprints(polygraft: Command):
    found = json.loads(polygraft("bases", "show", "base", "--json").stdout)
    base = load_base("base", device="cpu")
    assert (found["family"], found["layers"], found["hidden"]) == ("bert", 3, 16)
    assert found["fingerprint"] == base.fingerprint
    assert found["num_bytes"] == base.num_parameters * 4


def test_the_table_writes_bytes_as_people_read_them(polygraft: Command):
    lines = polygraft("bases", "show", "base").stdout.splitlines()
    assert [line.split() for line in lines if line.startswith(" bytes")] == [["bytes", "30.5", "kB"]]
