from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command


def lines(stdout: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_a_sentence_gives_one_line_of_json_with_offsets(polygraft: Command):
    done = polygraft("predict", "--plan", "stack(qu, ner)", "--text", "ana, lima")
    (found,) = lines(done.stdout)
    assert done.exit_code == 0
    assert found["tokens"] == ["ana", ",", "lima"]
    assert found["offsets"] == [[0, 3], [3, 4], [5, 9]]
    assert len(found["labels"]) == 3
    assert all(found["text"][span["start"] : span["end"]] == span["text"] for span in found["spans"])


def test_an_empty_line_gives_an_empty_result(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "-", text="ana\n\nlima\n")
    found = lines(done.stdout)
    assert [item["text"] for item in found] == ["ana", "", "lima"]
    assert found[1] == {"text": "", "tokens": [], "labels": [], "offsets": [], "spans": []}


def test_a_file_and_standard_input_give_the_same(polygraft: Command):
    text = "ana went to lima\nthe moon\n"
    Path("some.txt").write_text(text, encoding="utf-8")
    from_file = polygraft("predict", "--plan", "ner", "some.txt")
    assert from_file.stdout == polygraft("predict", "--plan", "ner", "-", text=text).stdout
    assert len(lines(from_file.stdout)) == 2


def test_labels_do_not_depend_on_the_lines_beside_them(polygraft: Command):
    alone = polygraft("predict", "--plan", "ner", "--text", "ana went")
    many = polygraft("predict", "--plan", "ner", "-", text="ana went\n" + "the good man went to lima\n" * 300)
    assert many.stdout.splitlines()[0] == alone.stdout.strip()
    assert len(many.stdout.splitlines()) == 301


def test_a_head_for_texts_gives_one_label_each_and_none_for_an_empty_text(polygraft: Command):
    found = lines(polygraft("predict", "--plan", "topic", "--text", "good man", "--text", " ").stdout)
    assert found[0]["label"] in {"good", "bad"}
    assert found[1] == {"text": " ", "label": None}


def test_binary_input_is_refused_with_its_line(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "-", text=b"ana\n\xff\xfe\n")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: standard input, line 2: byte 1 of the line is 0xFF, which is not UTF-8 there. Plain text was "
        "expected, one sentence a line. Convert it, for example with `iconv -f LATIN1 -t UTF-8`.\n"
    )


def test_a_nul_character_is_refused_with_its_line(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "-", text=b"a\0b\n")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: standard input, line 1: the line holds a NUL character ('a\\x00b'). Plain text was expected, one "
        "sentence a line. Check that the input is not binary or UTF-16.\n"
    )


def test_text_and_a_file_together_are_a_usage_error(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "--text", "ana", "text.txt")
    assert done.exit_code == 2
    assert "Give sentences with --text, or a FILE, not both." in done.stderr


def test_words_that_were_cut_are_told_of(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "-", text="ana went\n" + "ana " * 60 + "\n")
    assert done.exit_code == 0
    whole, long = lines(done.stdout)
    assert len(long["labels"]) == 60
    assert long["num_cut_words"] == 22
    assert "num_cut_words" not in whole
    assert done.stderr == (
        "22 words lie past the base's longest input and got the label 'O'. Give long texts a sentence a line.\n"
    )
    done = polygraft("predict", "--plan", "topic", "--text", "ana", "--text", " ", "--text", "ana " * 60)
    assert [found.get("num_cut_pieces") for found in lines(done.stdout)] == [None, None, 22]
    assert done.stderr == (
        "22 pieces of texts lie past the base's longest input and were not read. Give long texts a sentence a line.\n"
    )


def test_a_line_is_answered_before_the_next_one_comes(reader: Path):
    words = [sys.executable, "-m", "polygraft", "predict", "--plan", "ner", "-"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("ana went", "", "lima"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_an_argument_that_is_not_utf8_is_refused(polygraft: Command):
    done = polygraft("predict", "--plan", "ner", "--text", "ana", "--text", "lima\n\udcff")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: --text, line 2: byte 1 of the line is 0xFF, which is not UTF-8 there. Plain text was expected, one "
        "sentence a line. Convert it, for example with `iconv -f LATIN1 -t UTF-8`.\n"
    )


def test_an_argument_may_have_several_lines_or_none(polygraft: Command):
    found = lines(polygraft("predict", "--plan", "ner", "--text", "ana\r\nlima\n", "--text", "").stdout)
    assert [item["text"] for item in found] == ["ana", "lima", ""]


def routed(*pairs: tuple[str, str]) -> str:
    return "".join(json.dumps({"text": text, "plan": plan}) + "\n" for text, plan in pairs)


def test_lines_of_many_plans_are_labelled_as_each_plan_labels_them(polygraft: Command):
    pairs = [
        ("ana, lima", "ner"),
        ("good man", "topic"),
        ("the moon", "stack(qu, ner)"),
        ("", "ner"),
        ("", "topic"),
    ]
    done = polygraft("predict", "--routed", "-", text=routed(*pairs))
    assert done.exit_code == 0, done.stderr
    for found, (text, plan) in zip(lines(done.stdout), pairs, strict=True):
        (alone,) = lines(polygraft("predict", "--plan", plan, "--text", text).stdout)
        assert found == {**alone, "plan": plan}


def test_a_line_without_a_plan_takes_the_one_of_the_command(polygraft: Command):
    done = polygraft("predict", "--routed", "--plan", "ner", "--text", '{"text": "ana"}')
    assert [found["plan"] for found in lines(done.stdout)] == ["ner"]


def count_refused(num_refused: int, num_lines: int, *, name: str) -> str:
    return (
        f"error: {num_refused} of {num_lines} lines of {name} got no answer, each for the reason that was told. "
        "Expected an answer to each; the other lines have theirs, in their order. Correct these lines and give them "
        "again.\n"
    )


def test_a_line_that_is_no_request_is_refused_with_its_place(polygraft: Command):
    expected = 'Expected {"text": "...", "plan": "stack(qu, ner)"}. Correct the line.'
    good, later = routed(("ana", "ner")), routed(("lima", "topic"))
    for line, what in (
        ("ana", "the line is no JSON"),
        ('["ana"]', "the line is no object of strings"),
        ('{"text": 1, "plan": "ner"}', "the line is no object of strings"),
        ("[" * 100_000, "the line is no JSON"),
        ('{"text": "\\ud800", "plan": "ner"}', "the line has half a character (a lone surrogate)"),
        ('{"text": "ana"}', "the line has no 'plan'"),
        ('{"text": "ana", "plan": "ner", "rows": "1"}', "the line has the key 'rows'"),
    ):
        done = polygraft("predict", "--routed", "-", text=f"{good}{line}\n{later}")
        assert done.exit_code == 1
        assert done.stderr == (
            f"error: standard input, line 2: {what}. {expected}\n{count_refused(1, 3, name='standard input')}"
        )
        assert [found["text"] for found in lines(done.stdout)] == ["ana", "lima"]
    assert polygraft("predict", "--text", "ana").exit_code == 2


ONE_EXAMPLE = "Write a graft's name, or for example stack(qu, ner)."


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            "nerr",
            "The plan 'nerr' names 'nerr', which is not in the store store. Did you mean 'ner'? There are ner, qu, "
            "topic. `polygraft grafts list` shows all 3.",
        ),
        (
            "stack(qu, ner",
            f"The plan 'stack(qu, ner' ends where a comma or a closing bracket was expected. {ONE_EXAMPLE}",
        ),
        ("", f"The plan '' ends where a graft's name was expected. {ONE_EXAMPLE}"),
        (
            "none",
            "The plan 'none' is the bare base, which has no head, so it cannot label anything. Expected a task graft "
            "in it, as in stack(qu, ner). Name one, or leave the line out.",
        ),
        (
            "qu",
            "The plan 'qu' has no head for tokens or sequences, so it cannot label anything. Expected a task graft in "
            "it, as in stack(qu, ner). Add one.",
        ),
        (
            "route(ner, none)",
            "The plan 'route(ner, none)' has 2 ways for a row, and a line goes one. Expected a plan without route and "
            "parallel. Write a line for each way.",
        ),
        (
            "stack(ner, ner)",
            "The plan 'stack(ner, ner)' names 'ner' 2 times. A graft acts once in a plan. Name each graft once.",
        ),
        (
            "stack(ner, topic)",
            "The plan 'stack(ner, topic)' has 2 heads for labels: those of ner, topic. One at most was expected, since "
            "only one can score. Leave the other grafts out.",
        ),
        (
            "stack(ner@1, ner)",
            "The plan 'stack(ner@1, ner)' names 'ner@1' and 'ner', which are one graft. A graft acts once in a plan. "
            "Name another version, or leave one of them out.",
        ),
    ],
)
def test_a_plan_that_cannot_label_is_refused_with_its_line(polygraft: Command, plan: str, sentence: str):
    pairs = [
        ("ana", "ner"),
        ("lima", plan),
        ("good man", "topic"),
        ("lima", plan),
        ("moon", "stack(qu, ner)"),
    ]
    Path("asked.jsonl").write_text(routed(*pairs), encoding="utf-8")
    done = polygraft("predict", "--routed", "asked.jsonl")
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {sentence} That is the plan of asked.jsonl, line 2.\n"
        f"error: {sentence} That is the plan of asked.jsonl, line 4.\n{count_refused(2, 5, name='asked.jsonl')}"
    )
    good = polygraft("predict", "--routed", "-", text=routed(*(pair for pair in pairs if pair[1] != plan)))
    assert good.exit_code == 0, good.stderr
    assert done.stdout == good.stdout


def test_a_version_that_is_not_there_is_told_with_its_line(polygraft: Command):
    done = polygraft("predict", "--routed", "-", text=routed(("ana", "ner@1"), ("lima", "stack(qu, ner@9)")))
    assert done.exit_code == 1
    first, last = done.stderr.splitlines(keepends=True)
    assert first.endswith(" That is the plan of standard input, line 2.\n")
    assert "9" in first
    assert last == count_refused(1, 2, name="standard input")


def test_bad_lines_among_many_lose_no_answer_and_keep_the_order(polygraft: Command):
    plans = ("topic", "ner", "stack(qu, ner)", "nerr", "qu")
    pairs = [(f"ana {number} lima", plans[number * 7 % 5]) for number in range(300)]
    asked = routed(*pairs).splitlines(keepends=True)
    asked[150] = "no JSON\n"
    done = polygraft("predict", "--routed", "-", text="".join(asked))
    assert done.exit_code == 1
    answered = [
        number for number, (_, plan) in enumerate(pairs) if plan not in ("nerr", "qu") and number != 150
    ]
    assert [(found["text"], found["plan"]) for found in lines(done.stdout)] == [
        pairs[number] for number in answered
    ]
    told = [int(re.findall(r"standard input, line (\d+)", line)[0]) for line in done.stderr.splitlines()[:-1]]
    assert told == [number + 1 for number in range(300) if number not in answered]
    assert done.stderr.endswith(count_refused(len(told), 300, name="standard input"))


def test_a_line_that_is_no_text_costs_no_answer(polygraft: Command):
    asked = routed(("ana", "ner")).encode() + b'{"text": "\xff"}\n' + routed(("lima", "ner")).encode()
    Path("asked.jsonl").write_bytes(asked)
    for words, name in ((("asked.jsonl",), "asked.jsonl"), (("-",), "standard input")):
        done = polygraft("predict", "--routed", *words, text=asked)
        assert [found["text"] for found in lines(done.stdout)] == ["ana", "lima"]
        assert done.stderr == (
            f"error: {name}, line 2: byte 11 of the line is 0xFF, which is not UTF-8 there. Plain text was expected, "
            "one sentence a line. Convert it, for example with `iconv -f LATIN1 -t UTF-8`.\n"
            f"{count_refused(1, 3, name=name)}"
        )


def test_empty_lines_of_a_routed_file_ask_for_nothing(polygraft: Command):
    asked = routed(("ana", "ner"), ("lima", "ner"))
    done = polygraft("predict", "--routed", "-", text=asked.replace("\n", "\n\n \r\n"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == polygraft("predict", "--routed", "-", text=asked).stdout
    bad = polygraft("predict", "--routed", "-", text=f"\n\n{asked}x\n")
    assert bad.stderr.startswith("error: standard input, line 5: the line is no JSON.")
    assert bad.stderr.endswith(count_refused(1, 3, name="standard input"))


def test_an_argument_with_a_bad_line_is_answered_but_for_it(polygraft: Command):
    good = routed(("ana", "ner"))
    done = polygraft("predict", "--routed", "--text", good.strip(), "--text", "ana")
    assert done.exit_code == 1
    assert [found["text"] for found in lines(done.stdout)] == ["ana"]
    assert done.stderr.endswith(count_refused(1, 2, name="--text"))


def test_a_routed_file_that_is_not_there_is_one_error(polygraft: Command):
    done = polygraft("predict", "--routed", "nowhere.jsonl")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: There is no file nowhere.jsonl. An existing file was expected. Check the path; a relative one starts "
        "at the folder where the program was started.\n"
    )


def test_a_stream_of_lines_keeps_its_order_over_batches(polygraft: Command):
    plans = ("topic", "ner", "stack(qu, ner)", "ner@1", "stack(qu,ner)")
    pairs = [(f"ana {number} lima", plans[number * 7 % 5]) for number in range(300)]
    done = polygraft("predict", "--routed", "-", text=routed(*pairs))
    assert done.exit_code == 0, done.stderr
    assert [(found["text"], found["plan"]) for found in lines(done.stdout)] == pairs


def test_merged_grafts_label_as_they_do_beside_the_weights(polygraft: Command):
    train = ("train", "tokens", "--train", "tagged.conll", "--steps", "4", "--lr", "0.05", "--name", "low")
    made = polygraft(*train, "--part", "lora", "--option", "rank=2", "--under", "qu")
    assert made.exit_code == 0, made.stderr
    words = ("--plan", "stack(qu, low)", "--text", "ana went to lima")
    plain, merged = polygraft("predict", *words), polygraft("predict", "--merge", *words)
    assert merged.exit_code == 0, merged.stderr
    assert merged.stdout == plain.stdout
    scored = polygraft("evaluate", "tagged.conll", "--plan", "stack(qu, low)", "--merge", "--json")
    assert (
        json.loads(scored.stdout)["score"]
        == json.loads(polygraft("evaluate", "tagged.conll", "--plan", "stack(qu, low)", "--json").stdout)[
            "score"
        ]
    )
    assert polygraft("predict", "--routed", "--merge", "--text", "{}").exit_code == 2
