"""A small tokenizer of pieces, made by hand so that every piece of a word is known."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BOS, PAD, EOS, UNK, MASK = range(5)
WORDS = ["▁Cusco", "▁Lima", "▁llaqta", "▁hatun", "▁wasi", "kuna", "pi", "manta", "▁"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz.,!")


@cache
def piece_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, endings and letters; `wasikuna` is two pieces, digits are unknown."""
    vocab = [(piece, 0.0) for piece in SPECIAL]
    vocab += [(word, -1.0) for word in WORDS] + [(letter, -5.0) for letter in LETTERS]
    made = Tokenizer(models.Unigram(vocab, unk_id=UNK))
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def ids(*pieces: str) -> list[int]:
    """The numbers of pieces."""
    return piece_tokenizer().convert_tokens_to_ids(list(pieces))


@cache
def word_tokenizer() -> PreTrainedTokenizerFast:
    """Two words and nothing else: no special tokens, and no token for other words."""
    made = Tokenizer(models.BPE(vocab={"a": 0, "wasi": 1, "w": 2, "s": 3, "i": 4}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made)
