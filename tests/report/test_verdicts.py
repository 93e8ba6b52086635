from __future__ import annotations

import dataclasses

from tests.report.sample import make_summary
from tests.report.study import make_study

from polygraft.evaluate.spans import TypeScore
from polygraft.report.forgetting import forgetting_table, list_forgotten
from polygraft.report.joining import Run
from polygraft.report.methods import build_method_grids
from polygraft.report.summary import RunSummary
from polygraft.report.verdicts import gather_forgotten, write_comparison, write_verdict, write_verdicts

STUDY = make_study()


def only(task: str, *, summary: RunSummary = STUDY) -> RunSummary:
    return dataclasses.replace(summary, results=tuple(r for r in summary.results if r.task == task))


def headline(summary: RunSummary) -> str:
    return write_verdict(build_method_grids([Run(label="study", summary=summary)]))


def paragraphs(*summaries: RunSummary) -> tuple[str, ...]:
    runs = [Run(label=f"run {n}", summary=summary) for n, summary in enumerate(summaries)]
    return write_verdicts(runs, build_method_grids(runs))


def set_score(summary: RunSummary, score: float) -> RunSummary:
    results = tuple(dataclasses.replace(result, score=score) for result in summary.results)
    return dataclasses.replace(summary, results=results, means=())


def test_the_headline_counts_the_tests_that_each_method_leads():
    assert headline(STUDY) == "Best on average: ‘madx’ in two of three tests and ‘full’ in one"


def test_the_headline_tells_what_the_best_method_forgot():
    results = tuple(
        dataclasses.replace(result, score=0.9 if result.method == "sequential" else 0.5)
        for result in STUDY.results
    )
    summary = dataclasses.replace(STUDY, results=results, means=())
    runs = [Run(label="study", summary=summary)]
    [lost] = [each for each in gather_forgotten(runs) if each.method == "sequential"]
    assert write_comparison(build_method_grids(runs), gather_forgotten(runs)) == (
        "Best on average: ‘sequential’ in three of three tests; ‘sequential’ then forgot "
        f"{100 * lost.average:.1f} points of earlier tasks"
    )
    assert (
        write_comparison(build_method_grids(runs)) == "Best on average: ‘sequential’ in three of three tests"
    )


def test_the_headline_of_one_test_says_where_that_is_sure():
    assert headline(only("ner")) == (
        "‘madx’ has the best mean F1 of eight methods; it is clearly ahead of all others in one of four languages"
    )
    blind = dataclasses.replace(only("ner"), contests=())
    assert headline(blind) == "‘madx’ has the best mean F1 of eight methods"


def test_methods_that_score_the_same_share_the_headline():
    same = set_score(only("ner"), 0.0)
    assert headline(same) == "All eight methods have the same mean F1"
    results = tuple(
        dataclasses.replace(result, score=0.1) if result.method in ("lora", "ia3") else result
        for result in same.results
    )
    assert headline(dataclasses.replace(same, results=results)) == (
        "‘lora’ and ‘ia3’ share the best mean F1 of eight methods"
    )


def test_the_paragraphs_say_what_came_out_what_it_costs_and_what_was_forgotten():
    ran, ner, _, _, forgotten, worse = paragraphs(STUDY)
    assert ran == (
        "This run has eight methods, each with the seeds 0, 1 and 2, on the frozen base multilingual-e5-small (118 "
        "million parameters); it took 25 h 53 min."
    )
    assert ner.startswith(
        "In ner, learned from English labels, the best mean F1 over the four target languages is 43.1 (± 0.2, "
        "42.1–44.1) with ‘madx’."
    )
    assert "In Swahili ‘madx’ is best (60.5), clearly ahead of every other method." in ner
    assert (
        "For the task ‘madx’ stores 1.21 MB, 0.26 % of the 471 MB of the full copy ‘full’, and 4.75 MB for each "
        "language; on average it scores 1.1 better."
    ) in ner
    assert forgotten == (
        "‘sequential’ has an average forgetting of 21.0 points and a backward transfer of −21.0: after later tasks "
        "none of 39 test sets was still predicted label by label as before. The scores told of it are those right "
        "after each task was learned; in the end it has 15.3 in ner and 55.3 in pos. ‘full’, ‘head’, ‘bottleneck’, "
        "‘madx’, ‘lora’, ‘ia3’ and ‘lt-sft’ forgot nothing: every label of every earlier task was the same after each "
        "later task, as equal digests of the predictions prove."
    )
    assert "In ner ‘head’ and ‘ia3’ are clearly worse than the best method in every target language." in worse


def test_one_sentence_a_method_says_what_its_language_grafts_did():
    changes = {"hau": 0.0004, "swa": 0.01, "qu": 0.02}
    results = {(r.method, r.language, r.condition, r.seed): r for r in STUDY.results if r.task == "ner"}
    for (method, language, condition, seed), result in results.items():
        if method == "madx" and condition == "target" and language in changes:
            best = max(results[method, language, each, seed].score for each in ("none", "source"))
            results[method, language, condition, seed] = dataclasses.replace(
                result, score=best + changes[language]
            )
    gains = tuple(
        dataclasses.replace(gain, low=-0.01 if gain.language == "swa" else 0.01, high=0.03)
        if gain.language in ("swa", "qu")
        else gain
        for gain in STUDY.gains
    )
    summary = dataclasses.replace(STUDY, results=tuple(results.values()), gains=gains)
    told = [part for part in paragraphs(summary)[-1].split(". ") if part.startswith("With")]
    assert told[0] == (
        "With ‘madx’ the target’s own language graft, against the best other condition, helped in Quechua (ner, "
        "+2.0); it made no clear difference in Swahili (ner, +1.0); it made no difference in Hausa (ner); it did harm "
        "in Yoruba (ner, −3.0)"
    )
    assert [part.split("’")[0] for part in told] == ["With ‘madx", "With ‘lt-sft"]


def test_without_intervals_a_language_graft_is_not_judged():
    results = tuple(dataclasses.replace(r, low=None, high=None) for r in STUDY.results)
    told = paragraphs(dataclasses.replace(STUDY, results=results, gains=()))[-1]
    assert "condition, cannot be judged in Quechua (ner, +2.0), " in told


def test_many_methods_that_share_a_score_are_counted_and_none_is_held_up():
    told = paragraphs(set_score(STUDY, 0.0))
    assert told[1].startswith(
        "In ner, learned from English labels, the best mean F1 over the four target languages is 0.0 (± 0.0), which "
        "all eight methods share. In Quechua all methods score 0.0."
    )
    assert "stores" not in told[1]
    results = tuple(
        dataclasses.replace(r, score=0.0 if r.method in ("full", "madx", "lora") else 0.2)
        for r in STUDY.results
    )
    told = paragraphs(dataclasses.replace(STUDY, results=results))
    assert "In Hausa five of eight methods share the best score (20.0)." in told[1]
    assert headline(dataclasses.replace(STUDY, results=results)) == (
        "Best on average: no one method in three of three tests"
    )


def make_silent(summary: RunSummary, *tasks: str) -> RunSummary:
    """Make every method predict no entity in some tasks, neither at first nor later."""
    results, rechecks = (
        tuple(
            dataclasses.replace(r, score=0.0, metric="f1", predictions="0" * 64) if r.task in tasks else r
            for r in rows
        )
        for rows in (summary.results, summary.rechecks)
    )
    return dataclasses.replace(summary, results=results, rechecks=rechecks)


def test_where_nothing_was_predicted_nothing_could_be_forgotten():
    summary = make_silent(make_study(("full", "lora")), "ner", "pos")
    [forgotten] = [each for each in paragraphs(summary) if "forgotten" in each]
    assert forgotten == (
        "‘full’ and ‘lora’ had predicted nothing in any earlier task, so nothing could be forgotten."
    )
    table = forgetting_table(list_forgotten(summary), ident="f")
    assert table is not None
    assert {row[3].text for row in table.rows} == {"nothing was predicted"}
    summary = make_silent(make_study(("lora",)), "ner")
    [forgotten] = [each for each in paragraphs(summary) if "forgotten" in each]
    assert forgotten.startswith("‘lora’ forgot nothing: every label ")
    assert forgotten.endswith("In ner ‘lora’ had predicted nothing, so nothing could be forgotten there.")


def test_wrong_entities_are_predictions_too():
    wrong = {"LOC": TypeScore(precision=0.0, recall=0.0, f1=0.0, num_gold=3, num_predicted=2)}
    summary = make_silent(make_study(("lora",)), "ner", "pos")
    results = tuple(dataclasses.replace(r, by_type=wrong) for r in summary.results)
    [forgotten] = [
        each for each in paragraphs(dataclasses.replace(summary, results=results)) if "forgot" in each
    ]
    assert forgotten.startswith("‘lora’ forgot nothing: ")


def test_equal_scores_without_equal_digests_are_no_proof():
    rechecks = tuple(
        dataclasses.replace(result, predictions="") if result.method == "lora" else result
        for result in STUDY.rechecks
    )
    forgotten = paragraphs(dataclasses.replace(STUDY, rechecks=rechecks))[-2]
    assert (
        "‘lora’ has an average forgetting of 0.0 points and a backward transfer of 0.0: after later tasks it is not "
        "known which predictions stayed."
    ) in forgotten
    assert "‘lora’ and" not in forgotten
    assert "‘madx’, ‘ia3’ and ‘lt-sft’ forgot nothing" in forgotten


def test_several_runs_are_named_and_what_was_never_compared_is_said():
    plain = make_summary()
    results = tuple(dataclasses.replace(result, source="en") for result in plain.results)
    told = paragraphs(only("ner"), dataclasses.replace(plain, results=results))
    assert told[0].startswith(
        "‘run 0’ has eight methods, each with the seeds 0, 1 and 2, on the frozen base "
    )
    assert "‘run 1’ has one method, with one seed, on the frozen base" in told[0]


def test_methods_may_have_seeds_of_their_own():
    fewer = tuple(result for result in STUDY.results if result.method != "full" or result.seed == 0)
    told = paragraphs(dataclasses.replace(STUDY, results=fewer, means=()))[0]
    assert told.startswith("This run has eight methods, with one to three seeds, on the frozen base ")


def test_without_scores_there_is_nothing_to_say():
    assert write_verdict(()) == "No scores were recorded"


def test_methods_that_are_equal_in_a_language_are_named_together():
    results = tuple(
        dataclasses.replace(result, score=0.9)
        if (result.language, result.method) in (("hau", "lora"), ("hau", "ia3"))
        else dataclasses.replace(result, score=0.25)
        if result.language == "swa"
        else result
        for result in STUDY.results
    )
    ner = paragraphs(dataclasses.replace(STUDY, results=results))[1]
    assert "In Hausa ‘lora’ and ‘ia3’ are best (90.0), " in ner
    assert "In Swahili all methods score 25.0." in ner


def test_methods_of_several_runs_have_the_names_of_the_tables():
    first, other = make_study(("full", "lora")), make_study(("lora",))
    [forgotten] = [each for each in paragraphs(first, other) if "forgot nothing" in each]
    assert forgotten.startswith("‘full’, ‘run 0: lora’ and ‘run 1: lora’ forgot nothing")
