from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

from polygraft.evaluate.result import Result, SeedMean, results_to_csv, results_to_json
from polygraft.evaluate.spans import TypeScore

NER = Result(
    task="ner",
    language="qu",
    condition="target",
    plan="stack(qu, ner)",
    metric="f1",
    score=0.5,
    low=0.25,
    high=0.75,
    precision=0.5,
    recall=0.5,
    by_type={"LOC": TypeScore(precision=1.0, recall=0.5, f1=2 / 3, num_gold=2, num_predicted=1)},
    num_sentences=10,
    num_gold=12,
    seconds=1.5,
    tokens_per_second=100.0,
    seed=3,
    notes=('Line 1, "quoted".', "Ñawi."),
)
LOSS = Result(
    task="mlm",
    language="qu",
    condition="none",
    plan="",
    metric="loss",
    score=math.nan,
    perplexity=math.inf,
    num_sentences=0,
    num_gold=0,
    seconds=0.0,
    tokens_per_second=math.inf,
    seed=0,
)


def test_json_holds_every_field_as_it_is():
    row = json.loads(results_to_json([NER]))[0]
    assert list(row) == [
        *("task", "language", "condition", "plan", "metric", "score", "low", "high", "precision", "recall"),
        *(
            "macro_f1",
            "perplexity",
            "by_type",
            "num_sentences",
            "num_gold",
            "seconds",
            "tokens_per_second",
            "seed",
            "method",
            "source",
            "after",
            "predictions",
            "notes",
        ),
    ]
    assert row["by_type"]["LOC"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": 2 / 3,
        "num_gold": 2,
        "num_predicted": 1,
    }
    assert (row["score"], row["seed"], row["notes"]) == (0.5, 3, ['Line 1, "quoted".', "Ñawi."])


def test_json_names_numbers_that_it_does_not_have():
    row = json.loads(results_to_json([NER, LOSS]))[1]
    assert (row["score"], row["tokens_per_second"], row["low"]) == ("NaN", "Infinity", None)
    assert (row["perplexity"], row["macro_f1"]) == ("Infinity", None)


def test_csv_is_read_back_by_a_csv_reader():
    rows = list(csv.DictReader(io.StringIO(results_to_csv([NER, LOSS]))))
    assert len(rows) == 2
    assert (rows[0]["plan"], rows[0]["by_type"]) == ("stack(qu, ner)", f"LOC={2 / 3}")
    assert rows[0]["notes"] == 'Line 1, "quoted". Ñawi.'
    assert float(rows[0]["score"]) == 0.5
    assert (rows[1]["low"], rows[1]["score"], rows[1]["by_type"]) == ("", "nan", "")
    assert (rows[0]["macro_f1"], rows[1]["perplexity"]) == ("", "inf")


def test_no_results_are_an_empty_list_and_a_line_of_names():
    assert results_to_json([]) == "[]\n"
    assert results_to_csv([]).startswith(
        "task,language,condition,plan,metric,score,low,high,precision,recall,macro_f1,perplexity,"
    )
    assert results_to_csv([]).count("\n") == 1


def test_the_mean_over_seeds_stands_in_the_rows_of_its_seeds():
    mean = SeedMean(
        task="ner",
        language="qu",
        source="",
        metric="f1",
        method="",
        condition="target",
        seeds=(3, 4),
        score=0.625,
        deviation=0.125,
        low=0.5,
        high=0.75,
    )
    rows = [NER, dataclasses.replace(NER, seed=4), dataclasses.replace(NER, seed=5), LOSS]
    told = [
        [row[name] for name in ("num_seeds", "mean", "mean_deviation", "mean_low", "mean_high")]
        for row in csv.DictReader(io.StringIO(results_to_csv(rows, means=[mean])))
    ]
    assert told == [["2", "0.625", "0.125", "0.5", "0.75"]] * 2 + [[""] * 5] * 2
    assert "mean" not in results_to_csv(rows)
    assert results_to_csv([], means=[]).endswith(",num_seeds,mean,mean_deviation,mean_low,mean_high\n")
