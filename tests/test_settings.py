from __future__ import annotations

from pathlib import Path

import pytest

from polygraft.settings import Launch, Settings, load_launch, load_settings, read_variable


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_without_variables_the_defaults_hold(home: Path):
    assert load_settings({}) == Settings(
        store=Path("store"), base="bundled", device="auto", dtype="auto", cache=home / ".cache" / "polygraft"
    )


def test_each_variable_changes_its_default():
    variables = {f"POLYGRAFT_{name}": name.lower() for name in ("STORE", "BASE", "DEVICE", "DTYPE", "CACHE")}
    assert load_settings(variables) == Settings(
        store=Path("store"), base="base", device="device", dtype="dtype", cache=Path("cache")
    )


def test_an_empty_variable_counts_as_none():
    assert load_settings({"POLYGRAFT_STORE": ""}).store == Path("store")


def test_the_token_cache_may_be_elsewhere_or_off(home: Path):
    assert load_settings({"XDG_CACHE_HOME": "/var/cache"}).cache == Path("/var/cache/polygraft")
    assert load_settings({"POLYGRAFT_CACHE": "~/tokens"}).cache == home / "tokens"
    assert load_settings({"POLYGRAFT_CACHE": "", "XDG_CACHE_HOME": ""}).cache == home / ".cache" / "polygraft"
    assert load_settings({"POLYGRAFT_CACHE": "Off"}).cache is None


def test_a_variable_that_is_not_set_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("POLYGRAFT_DATA", raising=False)
    assert read_variable("POLYGRAFT_DATA") is None
    monkeypatch.setenv("POLYGRAFT_DATA", "/data")
    assert read_variable("POLYGRAFT_DATA") == "/data"


def test_a_launcher_says_which_process_this_is():
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert load_launch({**variables, "LOCAL_WORLD_SIZE": "4"}) == Launch(
        index=5, count=8, local_index=1, local_count=4
    )
    # As far as a process knows that is told nothing of other machines, all are on this one.
    assert load_launch(variables).local_count == 8
    assert load_launch({**variables, "WORLD_SIZE": "1"}) == load_launch({}) == Launch()
    assert load_launch({}).is_first
    assert not load_launch(variables).is_first
