"""Loading from a folder: what is accepted, what is refused and how, and that nothing is printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.base.conftest import WriteFolder
from tests.tiny import BASES, DECODERS, TIED, VOCAB, make_base, make_batch, make_model, make_tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from polygraft.base.load import freeze_base, load_base
from polygraft.errors import BaseModelError


@pytest.mark.parametrize("name", BASES)
def test_a_folder_with_a_masked_lm_head_is_the_base_that_was_written(write_folder: WriteFolder, name: str):
    base = load_base(str(write_folder(name)), device="cpu")
    assert base.fingerprint == make_base(name).fingerprint
    assert base.tokenizer_fingerprint == make_base(name).tokenizer_fingerprint
    assert base.head is not None
    assert base.revision is None


@pytest.mark.parametrize("name", BASES)
def test_a_folder_without_a_head_is_the_same_base_without_one(write_folder: WriteFolder, name: str):
    base = load_base(str(write_folder(name, with_head=False)), device="cpu")
    assert base.fingerprint == make_base(name).fingerprint
    # The head of a decoder with tied embeddings is the embeddings.
    has_head = name in DECODERS and name in TIED
    assert base.head_fingerprint == (make_base(name).head_fingerprint if has_head else None)
    assert (base.head is not None) == has_head


def test_everything_is_frozen_and_nothing_drops_out(write_folder: WriteFolder):
    base = load_base(str(write_folder()), device="cpu")
    assert [name for name, weight in base.model.named_parameters() if weight.requires_grad] == []
    assert [name for name, weight in base.head.named_parameters() if weight.requires_grad] == []
    assert not any(layer.training for layer in [*base.model.modules(), *base.head.modules()])


@pytest.fixture
def verbosity() -> Iterator[int]:
    """A level that no default has, so that losing it is seen."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO + 1)
    yield logging.INFO + 1
    logging.set_verbosity(before)


def test_loading_prints_nothing_and_leaves_the_log_as_it_was(
    write_folder: WriteFolder, capfd: pytest.CaptureFixture[str], verbosity: int
):
    folder = write_folder()
    capfd.readouterr()
    hook = logging.set_tqdm_hook(None)
    load_base(str(folder), device="cpu")
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == verbosity
    assert logging.set_tqdm_hook(hook) is None


def test_a_refusal_leaves_the_log_as_it_was(write_folder: WriteFolder, verbosity: int):
    folder = write_folder(config={"model_type": "t5"})
    with pytest.raises(BaseModelError):
        load_base(str(folder))
    assert logging.get_verbosity() == verbosity
    assert logging.set_tqdm_hook(None) is None


def test_the_fingerprint_is_of_the_values_before_rounding(write_folder: WriteFolder):
    folder = str(write_folder())
    rounded, exact = load_base(folder, dtype="bfloat16", device="cpu"), load_base(folder, device="cpu")
    assert {weight.dtype for weight in rounded.model.parameters()} == {torch.bfloat16}
    assert rounded.head.weight.dtype == torch.bfloat16
    assert rounded.fingerprint == exact.fingerprint
    assert exact.compute_fingerprint() == exact.fingerprint


@pytest.mark.parametrize("name", ["bert", "eurobert"])
def test_the_weights_and_their_bytes_are_counted(name: str):
    base = make_base(name)
    expected = sum(weight.numel() for weight in make_model(name).base_model.parameters())
    assert base.num_parameters == expected
    assert base.num_bytes == 4 * expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tied_decoder_is_kept_once_in_every_dtype(write_folder: WriteFolder, dtype: str):
    base = load_base(str(write_folder()), device="cpu", dtype=dtype)
    assert base.head.weight.data_ptr() == base.sites.word_embeddings.weight.data_ptr()


def test_an_unknown_device_is_refused():
    with pytest.raises(BaseModelError) as refusal:
        load_base("bundled", device="qpu")
    assert str(refusal.value) == (
        "'qpu' is not a device. Expected auto, cpu, cuda or cuda:N. Pass one of these."
    )


def test_a_gpu_that_is_not_there_is_refused():
    num_gpus = torch.cuda.device_count()
    with pytest.raises(BaseModelError) as refusal:
        load_base("bundled", device=f"cuda:{num_gpus}")
    assert str(refusal.value) == (
        f"There is no device 'cuda:{num_gpus}': this machine, or this PyTorch, has {num_gpus} GPUs. "
        "Expected auto, "
        "cpu, or cuda:N with a smaller N. Pass one of these."
    )


@pytest.mark.parametrize("device", ["meta", "vulkan", "privateuseone", "mtia"])
def test_a_device_that_keeps_no_values_is_refused(device: str):
    with pytest.raises(BaseModelError) as refusal:
        load_base("bundled", device=device)
    assert str(refusal.value) == (
        f"This PyTorch can keep no values on the device '{device}' here. Expected auto, cpu, cuda or cuda:N. Pass one "
        "of these, or install the PyTorch that is made for the device."
    )


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_each_of_several_processes_takes_its_own_gpu(device: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"WORLD_SIZE": "9", "RANK": "8", "LOCAL_RANK": "8"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(
        BaseModelError, match="There is no device 'cuda:8': this machine, or this PyTorch, has 8 GPUs"
    ):
        load_base("bundled", device=device)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(BaseModelError) as refusal:
        load_base("bundled", device="cpu", dtype="float23")
    assert str(refusal.value) == (
        "'float23' is not a dtype for a base. Expected auto, fastest, float32, bfloat16, float16, int8. "
        "Did you mean 'float32'? Pass one of these."
    )


def test_a_model_in_memory_is_a_base_too():
    model = make_model("roberta").base_model
    base = freeze_base(name="mine", model=model, tokenizer=make_tokenizer())
    assert base.model is model
    assert base.device == torch.device("cpu")
    assert base.sites.vocab == VOCAB
    hidden = base.model(*make_batch()).last_hidden_state
    assert hidden.shape == (3, 9, 16)
    assert not hidden.requires_grad


def test_the_tokenizer_is_a_fast_one(write_folder: WriteFolder):
    base = load_base(str(write_folder()), device="cpu")
    assert isinstance(base.tokenizer, PreTrainedTokenizerFast)
    assert base.tokenizer("mariya cuscoman rirqan").input_ids == [0, 8, 9, 10, 2]


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_the_fastest_format_is_bfloat16_only_where_the_processor_multiplies_it(
    write_folder: WriteFolder,
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    expected: torch.dtype,
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert load_base(str(write_folder()), device="cpu", dtype="fastest").model.dtype == expected
