"""Folders without the pruned units: transformers and polygraft load them, and the outputs are the masked base's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.base.test_units import CASES, draw_kept, expand_all, make_case, mask_model, run
from tests.tiny import DECODERS, TIED, make_base
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from polygraft.base.base import Base
from polygraft.base.compact import compact_base
from polygraft.base.load import load_base
from polygraft.base.units import list_units
from polygraft.errors import BaseModelError

FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(autouse=True)
def quiet_transformers() -> Iterator[None]:
    """Plain transformers tells what it loads, and of the pooler that no base of polygraft has."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    hook = logging.set_tqdm_hook(
        lambda factory, args, options: factory(*args, **{**options, "disable": True})
    )
    yield
    logging.set_verbosity(verbosity)
    logging.set_tqdm_hook(hook)


def draw_masks(base: Base, *, num_neurons: int = 10) -> dict[str, Tensor]:
    """Masks of random heads and neurons: no head of the first layer, and at most so many neurons of each."""
    heads = list_units(base, kind="heads")
    neurons = list_units(base, kind="neurons")
    generator = torch.Generator().manual_seed(3)
    order = [torch.rand(each.num_units, generator=generator).argsort() for each in neurons]
    kept = [each < num_neurons - layer for layer, each in enumerate(order)]
    return expand_all(heads, draw_kept(heads)) | expand_all(neurons, kept)


@pytest.mark.parametrize("case", CASES)
def test_the_folder_computes_what_the_masked_base_does(tmp_path: Path, case: str):
    base = make_case(case)
    masks = draw_masks(base)
    written = compact_base(base, folder=tmp_path / "compact", masks=masks)
    expected = run(mask_model(base, masks))
    plain = AutoModel.from_pretrained(written.folder).eval()
    torch.testing.assert_close(run(plain), expected, rtol=1e-5, atol=1e-5)
    again = load_base(str(written.folder), device="cpu")
    torch.testing.assert_close(run(again.model), expected, rtol=1e-5, atol=1e-5)
    assert written.num_neurons == 16
    assert (
        again.num_parameters == written.num_parameters < written.num_parameters_before == base.num_parameters
    )


@pytest.mark.parametrize("case", CASES)
def test_the_folder_is_another_base_with_the_same_tokenizer(tmp_path: Path, case: str):
    base = make_case(case)
    folder = compact_base(base, folder=tmp_path / "compact", masks=draw_masks(base)).folder
    again = load_base(str(folder), device="cpu")
    assert again.fingerprint != base.fingerprint
    assert again.tokenizer_fingerprint == base.tokenizer_fingerprint
    # The head of a decoder with tied embeddings is the embeddings.
    assert (again.head is not None) == (case in DECODERS and case in TIED)
    assert base.compute_fingerprint() == base.fingerprint
    text = "mariya cuscoman rirqan"
    # transformers makes a byte-level tokenizer for every Qwen 2, whatever the file says.
    reader = PreTrainedTokenizerFast if case == "qwen2" else AutoTokenizer
    assert reader.from_pretrained(folder)(text).input_ids == base.tokenizer(text).input_ids


def test_only_the_folder_is_left_with_its_four_files(tmp_path: Path):
    base = make_base()
    (tmp_path / "a" / "compact").mkdir(parents=True)
    folder = compact_base(base, folder=tmp_path / "a" / "compact", masks=draw_masks(base)).folder
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert list(folder.parent.iterdir()) == [folder]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]


@pytest.mark.parametrize(
    ("case", "num_heads"), [("bert", 2), ("modernbert", 2), ("eurobert-grouped", 2), ("eurobert-wide", 2)]
)
def test_the_configuration_has_the_new_sizes(tmp_path: Path, case: str, num_heads: int):
    base = make_case(case)
    heads = list_units(base, kind="heads")
    kept = [torch.arange(each.num_units) < 2 for each in heads]
    written = compact_base(
        base, folder=tmp_path / "compact", masks=draw_masks(base) | expand_all(heads, kept)
    )
    config: Mapping[str, Any] = json.loads((written.folder / "config.json").read_text())
    assert config["num_attention_heads"] == written.num_heads == num_heads
    assert config["intermediate_size"] == written.num_neurons == 16


def test_a_base_in_bfloat16_is_written_in_it(tmp_path: Path):
    base = make_base()
    masks = draw_masks(base)
    base.model.to(torch.bfloat16)
    folder = compact_base(base, folder=tmp_path / "compact", masks=masks).folder
    assert AutoModel.from_pretrained(folder).dtype == torch.bfloat16
    assert load_base(str(folder), device="cpu").model.dtype == torch.float32


@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_there_is_not_overwritten(tmp_path: Path, is_file: bool):
    folder = tmp_path / "compact"
    path = folder if is_file else folder / "notes.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(BaseModelError) as refusal:
        compact_base(make_base(), folder=folder, masks={})
    assert str(refusal.value) == (
        f"A compact base is to be written to '{folder}', which is there already. Expected a folder that is not there, "
        "or an empty one. Name another folder, or remove this one."
    )
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_refused_and_nothing_is_left(tmp_path: Path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "compact"
    with pytest.raises(BaseModelError) as refusal:
        compact_base(make_base(), folder=folder, masks={})
    assert str(refusal.value) == (
        f"The compact base cannot be written to '{folder}': Not a directory. Expected a place with room that may be "
        "written to. Name another folder."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polygraft.base.compact.save_file", fail)
    with pytest.raises(BaseModelError, match="No space left on device"):
        compact_base(make_base(), folder=tmp_path / "compact", masks={})
    assert list(tmp_path.iterdir()) == []
