from __future__ import annotations

from polygraft.cli.tagged import STYLES, TextSpan, choose_styles, draw_spans, draw_tags


def test_each_type_has_one_style_whatever_its_prefix():
    assert choose_styles(["O", "B-PER", "I-PER", "B-LOC"]) == {"LOC": STYLES[0], "PER": STYLES[1]}


def test_a_span_stands_in_brackets_with_its_type():
    drawn = draw_spans("Ana in Lima.", [TextSpan("PER", 0, 3), TextSpan("LOC", 7, 11)], styles={})
    assert drawn.plain == "[Ana PER] in [Lima LOC]."


def test_a_span_of_several_words_stands_in_one_bracket():
    tags = ["B-PER", "I-PER", "O", "B-LOC"]
    assert (
        draw_tags(["Ana", "Quispe", "in", "Lima"], tags, styles={}).plain == "[Ana Quispe PER] in [Lima LOC]"
    )


def test_the_colour_covers_the_words_of_the_span():
    drawn = draw_tags(["in", "Lima"], ["O", "B-LOC"], styles={"LOC": "bold red"})
    assert [drawn.plain[part.start : part.end] for part in drawn.spans if part.style == "bold red"] == [
        "Lima"
    ]
