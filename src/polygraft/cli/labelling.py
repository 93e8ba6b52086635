"""Predictions as plain values: tokens, labels, character offsets and spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from polygraft.cli.tagged import TextSpan, draw_spans

if TYPE_CHECKING:
    from polygraft.attach.attach import Attachment
    from polygraft.data.words import Word

Prediction = dict[str, Any]
Labeller = Callable[["Attachment", Sequence[str]], tuple[list[Prediction], int]]
"""Gives predictions, and how many words lay past the base's longest input."""


def choose_labeller(attachment: Attachment) -> Labeller:
    """Give what labels texts with the head of a plan.

    Raises:
        PlanError: The plan has no head for labels.
    """
    return label_words if attachment.find_head().options.objective == "tokens" else label_texts


def label_words(attachment: Attachment, texts: Sequence[str]) -> tuple[list[Prediction], int]:
    """Label the words of some texts; a text without words gives an empty prediction."""
    from polygraft.data.words import split_words
    from polygraft.evaluate.run import predict_tags
    from polygraft.evaluate.spans import is_span_labelling

    split = [split_words(text) for text in texts]
    made = predict_tags(attachment, [[word.text for word in words] for words in split])
    has_spans = is_span_labelling(attachment.find_labels())
    rows = zip(texts, split, made.labels, made.num_cut, strict=True)
    return [describe_words(*row, has_spans=has_spans) for row in rows], made.num_cut_words


def describe_words(
    text: str, words: Sequence[Word], labels: Sequence[str], num_cut: int, *, has_spans: bool
) -> Prediction:
    """Give the labels of a text's words as plain values.

    Args:
        text: The text.
        words: Its words.
        labels: One a word.
        num_cut: How many of them were not read.
        has_spans: Whether the labels mark spans.
    """
    from polygraft.evaluate.spans import read_spans

    prediction: Prediction = {
        "text": text,
        "tokens": [word.text for word in words],
        "labels": list(labels),
        "offsets": [[word.start, word.end] for word in words],
    }
    if has_spans:
        ends = [(span.type, words[span.start].start, words[span.end - 1].end) for span in read_spans(labels)]
        prediction["spans"] = [
            {"type": name, "start": start, "end": end, "text": text[start:end]} for name, start, end in ends
        ]
    if num_cut:
        prediction["num_cut_words"] = num_cut
    return prediction


def label_texts(attachment: Attachment, texts: Sequence[str]) -> tuple[list[Prediction], int]:
    """Give each text one label; an empty text gets none."""
    from polygraft.evaluate.run import predict_texts

    filled = [text for text in texts if text.strip()]
    made = predict_texts(attachment, filled)
    rows = zip(made.labels, made.num_cut, strict=True)
    found: list[Prediction] = []
    for text in texts:
        (label,), num_cut = next(rows) if text.strip() else ((None,), 0)
        found.append({"text": text, "label": label, **({"num_cut_pieces": num_cut} if num_cut else {})})
    return found, made.num_cut_words


def draw_prediction(found: Prediction, *, styles: Mapping[str, str]) -> Text:
    """Draw a prediction for a terminal."""
    if "label" in found:
        label = found["label"] or ""
        return Text.assemble((f"{label:<12} ", styles.get(label, "bold")), found["text"])
    if "spans" in found:
        spans = [TextSpan(span["type"], span["start"], span["end"]) for span in found["spans"]]
    else:
        pairs = zip(found["labels"], found["offsets"], strict=True)
        spans = [TextSpan(label, start, end) for label, (start, end) in pairs]
    return draw_spans(found["text"], spans, styles=styles)
