from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polygraft.data.conll import read_conll, write_conll
from polygraft.data.example import TaggedSentence
from polygraft.errors import DataError

FOLDER = Path(os.environ.get("POLYGRAFT_DATA", Path(__file__).parents[3] / "shared" / "data"))
ADVICE = "Separate token and tag with one space or tab, and sentences with an empty line."

# Anything that can stand in a column: no blanks, no line feeds, no control characters, no lone surrogates.
words = st.just("#") | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=" \x85"), min_size=1
).filter(lambda word: word != "-DOCSTART-")
rows = st.lists(st.tuples(words, words), min_size=1, max_size=5)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "train.conll"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refuse(path: Path, **columns: int) -> str:
    with pytest.raises(DataError) as caught:
        read_conll(path, **columns)
    return str(caught.value)


@given(st.lists(rows, min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: list):
    sentences, line = [], 1
    for pairs in written:
        tokens, tags = zip(*pairs, strict=True)
        sentences.append(TaggedSentence(tokens, tags, line))
        line += len(pairs) + 1
    path = tmp_path_factory.getbasetemp() / "round.conll"
    write_conll(path, sentences)
    assert read_conll(path) == sentences


def test_sentences_carry_the_line_of_their_first_token(tmp_path: Path):
    path = write(tmp_path, "\n\nCusco B-LOC\nmi O\n\n\nLima B-LOC\n")
    assert read_conll(path) == [
        TaggedSentence(("Cusco", "mi"), ("B-LOC", "O"), 3),
        TaggedSentence(("Lima",), ("B-LOC",), 7),
    ]


@pytest.mark.parametrize(
    "content", ["Cusco B-LOC", "Cusco\tB-LOC\n", "Cusco  \t B-LOC \n\n", "\n \t\nCusco B-LOC\n"]
)
def test_one_sentence_is_enough_however_it_is_spaced(tmp_path: Path, content: str):
    sentences = read_conll(write(tmp_path, content))
    assert [(s.tokens, s.tags) for s in sentences] == [(("Cusco",), ("B-LOC",))]


def test_a_byte_order_mark_and_carriage_returns_are_dropped(tmp_path: Path):
    path = write(tmp_path, b"\xef\xbb\xbfCusco B-LOC\r\n\r\nLima O\r\n")
    assert read_conll(path) == [
        TaggedSentence(("Cusco",), ("B-LOC",), 1),
        TaggedSentence(("Lima",), ("O",), 3),
    ]


def test_document_starts_and_comments_are_skipped(tmp_path: Path):
    path = write(tmp_path, "# id 7 split=train\n-DOCSTART- O\n\n# text = # one\n# O\none B-X\n")
    assert read_conll(path) == [TaggedSentence(("#", "one"), ("O", "B-X"), 5)]


def test_a_comment_of_two_words_is_skipped_between_tabs(tmp_path: Path):
    path = write(tmp_path, "# newdoc\n# O\nCusco\tB-LOC\n#\tO\n")
    assert read_conll(path) == [TaggedSentence(("Cusco", "#"), ("B-LOC", "O"), 3)]


def test_a_tab_in_a_comment_does_not_make_tokens_comments(tmp_path: Path):
    path = write(tmp_path, "# a\tb\tc\nCusco B-LOC\n# O\n")
    assert read_conll(path) == [TaggedSentence(("Cusco", "#"), ("B-LOC", "O"), 2)]


@pytest.mark.parametrize("comment", ["# doc1", "#  id=7", "# doc1\n# newpar"])
def test_a_comment_with_as_many_columns_is_skipped_before_a_sentence(tmp_path: Path, comment: str):
    path = write(tmp_path, f"{comment}\nCusco B-LOC\n\n{comment}\nmi O\n")
    assert [(s.tokens, s.tags) for s in read_conll(path)] == [(("Cusco",), ("B-LOC",)), (("mi",), ("O",))]


@pytest.mark.parametrize("tag", ["O", "B-X", "S-X", "U-X", "SYM", "#", "LOC"])
def test_a_number_sign_with_a_tag_is_a_token_before_a_sentence(tmp_path: Path, tag: str):
    path = write(tmp_path, f"# {tag}\n1 O\n\nCusco LOC\n")
    assert read_conll(path)[0] == TaggedSentence(("#", "1"), (tag, "O"), 1)


def test_a_number_sign_inside_a_sentence_is_a_token_whatever_its_tag(tmp_path: Path):
    path = write(tmp_path, "Cusco LOC\n# doc1\n")
    assert read_conll(path) == [TaggedSentence(("Cusco", "#"), ("LOC", "doc1"), 1)]


def test_a_number_sign_before_a_tab_is_a_token_whatever_its_tag(tmp_path: Path):
    path = write(tmp_path, "#\tdoc1\nCusco LOC\n")
    assert read_conll(path) == [TaggedSentence(("#", "Cusco"), ("doc1", "LOC"), 1)]


def test_the_tag_column_tells_a_comment_from_a_token(tmp_path: Path):
    path = write(tmp_path, "# doc O\nCusco PROPN B-LOC\n\n# PROPN id\nmi PART O\n")
    assert [s.tokens for s in read_conll(path)] == [("#", "Cusco"), ("mi",)]
    assert [s.tokens for s in read_conll(path, tag_column=1)] == [("Cusco",), ("#", "mi")]


def test_a_number_sign_is_written_so_that_it_is_read_back(tmp_path: Path):
    sentences = [
        TaggedSentence(("#", "x", "#"), ("odd", "O", "even"), 1),
        TaggedSentence(("#",), ("odd",), 5),
    ]
    path = tmp_path / "out.conll"
    write_conll(path, sentences)
    assert path.read_text() == "#\todd\nx O\n#\teven\n\n#\todd\n"
    assert read_conll(path) == sentences


def test_a_file_of_comments_has_no_sentences(tmp_path: Path):
    for content in ("# only a comment here\n", "# doc1\n"):
        path = write(tmp_path, content)
        assert refuse(path).startswith(f"{path} has no sentences.")


def test_tokens_between_tabs_may_hold_spaces(tmp_path: Path):
    path = write(tmp_path, "10 000\tNUM\nwasi\tNOUN\n")
    assert read_conll(path)[0].tokens == ("10 000", "wasi")


def test_any_columns_can_be_chosen(tmp_path: Path):
    path = write(tmp_path, "1\tCusco\tPROPN\tB-LOC\n2\tmi\tPART\tO\n")
    assert read_conll(path, token_column=1, tag_column=2)[0] == TaggedSentence(
        ("Cusco", "mi"), ("PROPN", "PART"), 1
    )


def test_other_line_separators_do_not_end_a_line(tmp_path: Path):
    path = write(tmp_path, "a\u2028b O\nc\u00a0d B-X\n")
    assert read_conll(path)[0].tokens == ("a\u2028b", "c\u00a0d")


def test_a_line_of_a_million_letters_is_read(tmp_path: Path):
    path = write(tmp_path, f"{'a' * 1_000_000} O\n")
    assert len(read_conll(path)[0].tokens[0]) == 1_000_000


def test_another_number_of_columns_is_refused(tmp_path: Path):
    path = write(tmp_path, "Lima B-LOC\n\nCusco B-LOC x\n")
    assert refuse(path) == f"{path}, line 3: 3 columns where 2 were expected ('Cusco B-LOC x'). {ADVICE}"


def test_a_missing_tag_is_refused(tmp_path: Path):
    path = write(tmp_path, "Lima B-LOC\nCusco\t\n")
    assert refuse(path) == f"{path}, line 2: 1 column where 2 were expected ('Cusco'). {ADVICE}"
    path = write(tmp_path, "This is no CoNLL file".replace(" ", "_"))
    assert refuse(path) == (
        f"{path}, line 1: 1 column where at least 2 were expected ('This_is_no_CoNLL_file'). {ADVICE}"
    )


def test_an_empty_column_between_tabs_is_refused(tmp_path: Path):
    path = write(tmp_path, "1\tLima\tO\n2\t\tO\n")
    assert refuse(path, token_column=1) == f"{path}, line 2: the token is empty ('2\\t\\tO'). {ADVICE}"


def test_a_column_that_is_not_there_is_refused(tmp_path: Path):
    path = write(tmp_path, "Lima O\n")
    assert refuse(path, tag_column=3) == (
        f"{path}, line 1: 2 columns ('Lima O'), and the tag is looked for in column 3. Columns are counted "
        "from 0, or from -1 backwards. Give a tag column that is there."
    )


def test_a_control_character_is_refused(tmp_path: Path):
    path = write(tmp_path, "Lima O\nCus\x00co B-LOC\n")
    assert refuse(path) == (
        f"{path}, line 2: the control character U+0000 stands at character 4 ('Cus\\x00co B-LOC'). A line is "
        "plain text. Remove the character from the file."
    )


@pytest.mark.parametrize("content", ["", "\n\n \n", "\ufeff", "-DOCSTART- -X- O O\n\n"])
def test_a_file_without_sentences_is_refused(tmp_path: Path, content: str):
    path = write(tmp_path, content)
    assert refuse(path) == (
        f"{path} has no sentences. Lines with a token and a tag were expected, and an empty line between "
        "sentences. Check that the file is complete and is the one you meant."
    )


@pytest.mark.parametrize("word", ["", "a b", "a\tb", "-DOCSTART-"])
def test_a_word_that_no_column_can_hold_is_not_written(tmp_path: Path, word: str):
    with pytest.raises(DataError) as caught:
        write_conll(tmp_path / "out.conll", [TaggedSentence((word,), ("O",), 0)])
    assert str(caught.value) == (
        f"The token or tag {word!r} cannot be written: a column is not empty, holds no space or tab, and is "
        "not -DOCSTART-. Replace it before writing."
    )
    assert not (tmp_path / "out.conll").exists()


def test_a_line_feed_in_a_word_is_not_written(tmp_path: Path):
    with pytest.raises(DataError, match=r"U\+000A"):
        write_conll(tmp_path / "out.conll", [TaggedSentence(("a\nb",), ("O",), 0)])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    path = tmp_path / "absent" / "out.conll"
    with pytest.raises(DataError) as caught:
        write_conll(path, [TaggedSentence(("a",), ("O",), 0)])
    assert str(caught.value) == (
        f"{path} cannot be written: No such file or directory. A file in a folder that exists was expected. "
        "Check its path and permissions."
    )


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"POLYGRAFT_DATA names no folder: {FOLDER} is absent.")
@pytest.mark.parametrize("task", ["ner", "pos"])
def test_every_tagged_file_of_the_data_folder_is_read(task: str):
    paths = sorted((FOLDER / task).glob("*/*.conll"))
    assert len(paths) == 15
    for path in paths:
        sentences = read_conll(path)
        num_lines = sum(1 for line in path.read_bytes().splitlines() if line.strip())
        assert sum(len(sentence.tokens) for sentence in sentences) == num_lines
        kinds = {tag.partition("-")[0] for sentence in sentences for tag in sentence.tags}
        assert kinds == {"O", "B", "I"} if task == "ner" else "NOUN" in kinds
