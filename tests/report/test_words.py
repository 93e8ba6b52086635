from __future__ import annotations

import dataclasses

import pytest
from tests.report.sample import make_gain, make_graft, make_result, make_summary

from polygraft.report.summary import RunSummary
from polygraft.report.words import write_headline, write_paragraph


def with_scores(rows: dict[str, tuple[float, float]], *, half: float | None = 0.02) -> RunSummary:
    """Make a run with (source, target) scores by language."""
    return dataclasses.replace(
        make_summary(),
        results=tuple(
            make_result(language, condition, score=score, half=half)
            for language, scores in rows.items()
            for condition, score in zip(("source", "target"), scores, strict=True)
        ),
    )


def test_the_paragraph_says_what_was_run_and_what_came_out():
    assert " ".join(write_paragraph(make_summary())) == (
        "On the frozen base multilingual-e5-small (118 million parameters), this run had one masked-LM graft, "
        "five language grafts and two task grafts; it took 1 h 35 min. The task ner was learned from "
        "English labels and tried on Quechua, Hausa, Swahili and Yoruba. Mean F1 over the four target"
        " languages: 38.1 with the task graft alone, 39.4 with the source’s graft and 39.7 with the "
        "target’s graft. The target’s graft gave the best F1 in Hausa (+6.2 against the source’s "
        "graft) and Swahili (+0.8). It did not help in Quechua (−5.8 against the source’s graft) and "
        "Yoruba (−1.5 against the task graft alone). These test sentences settle which is "
        "better in Hausa (95 %). In Quechua, Swahili and Yoruba they do not: the difference may be "
        "chance. The grafts take 26.7 MB, 5.7 % of a full copy of the base; one more task adds "
        "1.21 MB (0.26 %)."
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"hau": (0.4, 0.5)}, "scored best"),
        ({"hau": (0.4, 0.41)}, "scored best, but not clearly"),
        ({"hau": (0.4, 0.3)}, "did not help in the one language tried"),
        ({"hau": (0.4, 0.5), "yor": (0.2, 0.3)}, "scored best in two of two languages"),
        ({"hau": (0.4, 0.41), "yor": (0.2, 0.21)}, "scored best in two of two languages, clearly in none"),
        (
            {"hau": (0.4, 0.41), "yor": (0.2, 0.1)},
            "scored best in one of two languages, clearly in none; it was clearly worse in one",
        ),
        ({"hau": (0.4, 0.39), "yor": (0.2, 0.2)}, "did not help in any of two languages"),
        (
            {"hau": (0.4, 0.3), "yor": (0.2, 0.2)},
            "did not help in any of two languages, and was clearly worse in one",
        ),
    ],
)
def test_the_headline_says_how_sure_it_is(rows: dict[str, tuple[float, float]], words: str):
    assert write_headline(with_scores(rows)) == f"The target language’s graft {words}"


def test_a_difference_that_leaves_no_doubt_is_clear_where_the_scores_intervals_overlap():
    summary = with_scores({"hau": (0.4, 0.41)})
    assert write_headline(summary) == "The target language’s graft scored best, but not clearly"
    sure = dataclasses.replace(summary, gains=(make_gain("hau", "source", gain=0.01, half=0.005),))
    assert write_headline(sure) == "The target language’s graft scored best"
    assert "These test sentences settle which is better in Hausa (95 %)." in write_paragraph(sure)
    unsure = dataclasses.replace(summary, gains=(make_gain("hau", "source", gain=0.01, half=0.02),))
    assert (
        "In Hausa these test sentences do not settle which is better: the difference may be chance (95 %)."
        in write_paragraph(unsure)
    )


def test_without_intervals_nothing_is_called_clear():
    summary = with_scores({"hau": (0.4, 0.5), "yor": (0.2, 0.1)}, half=None)
    assert write_headline(summary) == "The target language’s graft scored best in one of two languages"
    assert "For Hausa and Yoruba there are no intervals: chance cannot be ruled out." in write_paragraph(
        summary
    )


def test_a_run_without_grafts_and_results_says_so():
    summary = dataclasses.replace(make_summary(), grafts=(), results=())
    assert write_headline(summary) == "No scores were recorded"
    assert write_paragraph(summary) == (
        "The base multilingual-e5-small (118 million parameters) stayed as it is: no graft was trained.",
        "No scores were recorded, so nothing can be said about transfer.",
    )


def test_a_run_that_only_pruned_says_how_far():
    levels = (
        {"sparsity": 0.0, "score": 0.828},
        {"sparsity": 0.9, "score": 0.33, "when_cut": 0.005},
        {"sparsity": 0.5, "score": 0.826, "when_cut": 0.066},
    )
    ner = dataclasses.replace(make_graft("ner", role="task"), levels=levels)
    summary = dataclasses.replace(make_summary(), grafts=(ner,), results=())
    assert write_headline(summary) == "90 % of the weights pruned: a dev score of 33.0"
    assert (
        "Pruned step by step and trained on after each, ‘ner’ has a dev score of 82.8 at 0 %, a dev score of 82.6 at "
        "50 % and a dev score of 33.0 at 90 %."
    ) in write_paragraph(summary)
    text = dataclasses.replace(
        make_graft("qu", role="language"), levels=({"sparsity": 0.1}, {"sparsity": 0.2, "score": 4.25})
    )
    summary = dataclasses.replace(make_summary(), grafts=(text,), results=())
    assert write_headline(summary) == "20 % of the weights pruned: a held-out loss of 4.250"
    assert "‘qu’ has no score at 10 % and a held-out loss of 4.250 at 20 %." in " ".join(
        write_paragraph(summary)
    )


def test_a_run_without_the_targets_graft_tells_the_best_scores():
    summary = dataclasses.replace(
        make_summary(), results=(make_result("qu", "oracle", score=0.5, half=None),)
    )
    assert write_headline(summary) == "What was run and what came out"
    assert "The best F1 of ner is 50.0 in Quechua (with ‘oracle’)." in write_paragraph(summary)


def test_a_gain_that_is_shown_as_zero_made_no_difference():
    words = " ".join(
        write_paragraph(with_scores({"hau": (0.4, 0.5), "yor": (0.2, 0.2), "swa": (0.3, 0.3003)}))
    )
    assert "The target’s graft gave the best F1 in Hausa (+10.0 against the source’s graft)." in words
    assert "It made no difference in Yoruba and Swahili." in words
    assert "did not help" not in words
    alone = " ".join(write_paragraph(with_scores({"yor": (0.2, 0.2)})))
    assert "Swapping in the target’s graft made no difference in Yoruba." in alone
