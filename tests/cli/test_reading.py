"""The commands on data of every format: the same examples make the same grafts, scores and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from pyarrow import parquet
from tests.cli.conftest import LABELLED, TEXT, Command

from polygraft.data.conll import read_conll
from polygraft.store.store import Store

TAGS = ["B-LOC", "B-PER", "O"]
datasets.disable_progress_bars()


@pytest.fixture
def tables(reader: Path) -> Path:
    """The reader's data in other formats."""
    sentences = read_conll("tagged.conll")
    tagged = {
        "words": [list(each.tokens) for each in sentences],
        "upos": [list(each.tags) for each in sentences],
    }
    write_jsonl("tagged.jsonl", {"tokens": tagged["words"], "ner_tags": tagged["upos"]})
    write_jsonl("named.json", tagged)
    numbers = [[TAGS.index(tag) for tag in tags] for tags in tagged["upos"]]
    parquet.write_table(pyarrow.table({"tokens": tagged["words"], "tags": numbers}), "tagged.parquet")
    joined = zip(*([" ".join(cell) for cell in cells] for cells in tagged.values()), strict=True)
    Path("tagged.csv").write_text("words,upos\n" + "".join(f"{words},{tags}\n" for words, tags in joined))
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
    made = Dataset.from_dict({"tokens": tagged["words"], "ner_tags": numbers}, features=features)
    made.save_to_disk("tagged-set")
    rows = [line.split("\t") for line in LABELLED.splitlines()]
    labelled = {"text": [text for _, text in rows], "label": [label for label, _ in rows]}
    write_jsonl("labelled.jsonl", labelled)
    parquet.write_table(pyarrow.table(labelled), "labelled.parquet")
    Path("labelled.csv").write_text(
        "body,number\n" + "".join(f'"{text}",{label == "good":d}\n' for label, text in rows)
    )
    Path("header.tsv").write_text(
        "id\ttext\tcategory\n" + "".join(f"1\t{text}\t{label}\n" for label, text in rows)
    )
    lines = TEXT.splitlines()
    write_jsonl("text.jsonl", {"text": ["\n".join(lines[:2]), *lines[2:]]})
    parquet.write_table(pyarrow.table({"body": lines, "id": range(4)}), "text.parquet")
    return reader


def write_jsonl(name: str, columns: dict[str, list[Any]]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


TOKENS = [
    ("tagged.jsonl",),
    ("named.json", "--token-column", "words", "--tag-column", "upos"),
    ("tagged.parquet", "--label-names", ", ".join(TAGS)),
    ("tagged.csv", "--format", "csv"),
    ("hf:tagged-set",),
]
SEQUENCE = [
    ("labelled.jsonl",),
    ("labelled.parquet",),
    (
        "labelled.csv",
        "--text-column",
        "body",
        "--label-column",
        "number",
        "--label-names",
        "bad,good",
    ),
    ("header.tsv",),
]
PLAIN = [("text.jsonl",), ("text.parquet", "--text-column", "body")]


def train_all(polygraft: Command, objective: str, plain: str, others: list[tuple[str, ...]]) -> None:
    """Train on a plain file and on the same in other formats; every graft has the same tensors and its own order."""
    for file, *options in [(plain,), *others]:
        words = ("train", objective, "--name", "new", "--train", file, "--steps", "2", *options)
        if objective != "mlm":
            words = (*words, "--dev", file)
        done = polygraft(*words)
        assert done.exit_code == 0, done.stderr
    store = Store("store")
    found = [store.manifest("new", version=version) for version in range(1, len(others) + 2)]
    assert {manifest.sha256 for manifest in found} == {found[0].sha256}
    assert {str(manifest.scores) for manifest in found} == {str(found[0].scores)}
    assert len({manifest.step for manifest in found}) == len(found)
    counts = [[record.num_examples for record in manifest.data] for manifest in found]
    assert counts == [counts[0]] * len(found)
    again = polygraft(*words)
    assert again.stderr.endswith(f"was trained before: it is version {len(found)} of 'new'.\n")


@pytest.mark.usefixtures("tables")
def test_tagged_sentences_of_every_format_make_the_same_graft(polygraft: Command):
    train_all(polygraft, "tokens", "tagged.conll", TOKENS)
    names = [record.name for record in Store("store").manifest("new").data]
    assert names == ["train hf:tagged-set", "dev hf:tagged-set"]


@pytest.mark.usefixtures("tables")
def test_labelled_texts_of_every_format_make_the_same_graft(polygraft: Command):
    train_all(polygraft, "sequence", "labelled.tsv", SEQUENCE)


@pytest.mark.usefixtures("tables")
def test_plain_text_of_every_format_makes_the_same_graft(polygraft: Command):
    train_all(polygraft, "mlm", "text.txt", PLAIN)


@pytest.mark.usefixtures("tables")
def test_pruning_reads_every_format(polygraft: Command):
    for file in ("labelled.tsv", "labelled.jsonl"):
        words = ("--name", "new", "--objective", "sequence", "--train", file, "--steps", "1")
        done = polygraft("prune", "piggyback", *words)
        assert done.exit_code == 0, done.stderr
    first, second = (Store("store").manifest("new", version=version).sha256 for version in (1, 2))
    assert first == second


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("plan", "plain", "others"),
    [
        (("ner",), "tagged.conll", TOKENS),
        (("topic",), "labelled.tsv", SEQUENCE),
        (("qu", "--objective", "mlm"), "text.txt", PLAIN),
    ],
    ids=["tokens", "sequence", "mlm"],
)
def test_every_format_has_the_same_score(
    polygraft: Command, plan: tuple[str, ...], plain: str, others: list[tuple[str, ...]]
):
    found = []
    for words in [(plain,), *others]:
        done = polygraft("evaluate", "--plan", *plan, *words, "--json")
        assert done.exit_code == 0, done.stderr
        scored = json.loads(done.stdout)
        found.append({key: scored[key] for key in ("score", "low", "high", "num_gold", "by_type")})
    assert found == [found[0]] * len(found)


@pytest.mark.usefixtures("tables")
def test_texts_of_rows_are_labelled(polygraft: Command):
    expected = polygraft("predict", "--plan", "ner", "text.txt").stdout
    write_jsonl("lines.jsonl", {"text": TEXT.splitlines(), "id": list(range(4))})
    assert polygraft("predict", "--plan", "ner", "lines.jsonl").stdout == expected
    named = ("text.parquet", "--text-column", "body")
    assert polygraft("predict", "--plan", "ner", *named).stdout == expected
    # A row is one text, whatever is in it, so that row n belongs to line n of the output.
    write_jsonl("lines.jsonl", {"text": ["", "ana\nwent"]})
    found = polygraft("predict", "--plan", "ner", "lines.jsonl").stdout.splitlines()
    assert [json.loads(line)["text"] for line in found] == ["", "ana\nwent"]
    raw = polygraft("predict", "--plan", "ner", "lines.jsonl", "--format", "text").stdout.splitlines()
    assert [json.loads(line)["text"] for line in raw] == ['{"text": ""}', '{"text": "ana\\nwent"}']


@pytest.mark.usefixtures("tables")
def test_a_file_of_requests_is_read_line_by_line(polygraft: Command):
    Path("requests.jsonl").write_text('{"text": "ana", "plan": "ner"}\n')
    done = polygraft("predict", "--routed", "requests.jsonl")
    assert json.loads(done.stdout)["plan"] == "ner"


@pytest.mark.usefixtures("tables")
def test_what_cannot_be_read_is_one_sentence(polygraft: Command):
    done = polygraft("train", "tokens", "--name", "new", "--train", "tagged.parquet")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "error: tagged.parquet, row 1, item 1: 'tags' has the number 1, and nothing says which label that is. Expected "
        "text, or names for the numbers. Give the labels in the order of their numbers by label_names.",
    )
    done = polygraft("evaluate", "--plan", "topic", "labelled.jsonl", "--label-column", "lable")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "error: labelled.jsonl has no column 'lable'. Its columns are: 'text', 'label'. Did you mean 'label'? Correct "
        "label_column.",
    )
    done = polygraft("evaluate", "--plan", "ner", "tagged.conll", "--tag-column", "upos")
    assert done.stderr.splitlines()[-1].startswith(
        "error: tag_column is 'upos', a name, and the columns of CoNLL"
    )
