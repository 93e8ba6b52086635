"""Commands that train a graft."""

from __future__ import annotations

TOKENS = ("train", "tokens", "--train", "tagged.conll", "--dev", "tagged.conll", "--epochs", "2")
SEQUENCE = ("train", "sequence", "--train", "labelled.tsv", "--dev", "labelled.tsv", "--epochs", "2")
TEXT = ("train", "mlm", "--train", "text.txt", "--steps", "2")
