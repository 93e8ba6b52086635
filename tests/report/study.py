"""A comparison as it might be: eight methods, three seeds, three tasks, four target languages."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics

from tests.report.sample import make_curve, make_examples, make_graft, make_summary

from polygraft.evaluate.contest import Contest
from polygraft.evaluate.gain import Gain
from polygraft.evaluate.result import Result, SeedMean
from polygraft.report.summary import ExampleSummary, GraftSummary, RunSummary

SEEDS = (0, 1, 2)
TARGETS = ("qu", "hau", "swa", "yor")
TESTS = {"ner": ("en", *TARGETS), "pos": ("en", "hau", "yor"), "topic": ("en", "hau", "swa")}
METRICS = {"ner": "f1", "pos": "accuracy", "topic": "accuracy"}
BASE_BYTES = 470_615_040

LEVELS = {
    "full": 0.452,
    "sequential": 0.441,
    "head": 0.263,
    "bottleneck": 0.431,
    "madx": 0.468,
    "lora": 0.437,
    "ia3": 0.402,
    "lt-sft": 0.449,
}
"""What each method scores in NER, more or less."""
SIZES = {
    "head": 3_465,
    "bottleneck": 301_833,
    "madx": 301_833,
    "lora": 446_217,
    "ia3": 27_657,
    "lt-sft": 893_952,
}
"""Trained parameters of the grafts."""
EASE = {"en": 0.37, "qu": -0.13, "hau": 0.05, "swa": 0.12, "yor": -0.17}
OVER = ("madx", "lt-sft")
TASK_EASE = {"ner": 0.0, "pos": 0.12, "topic": 0.2}
LOST = {"ner": (0.21, 0.34), "pos": (0.0, 0.08)}
"""What `sequential` loses of a task after the second and after the third one."""


def wobble(*facts: object) -> float:
    """Give a number between -1 and 1 that hangs on some facts alone."""
    return math.sin(sum((number + 1) * ord(letter) for number, letter in enumerate(repr(facts))))


def score_of(method: str, task: str, language: str, condition: str, seed: int) -> float:
    """Make up a score."""
    less = {"none": 0.035, "source": 0.02}.get(condition, 0.0) if language != "en" else 0.0
    own = 0.02 * wobble(method, task, language) + 0.009 * wobble(method, task, language, condition, 7 * seed)
    more = -0.05 if (method, language, condition) == ("madx", "yor", "target") else 0.0
    return LEVELS[method] + EASE[language] + TASK_EASE[task] - less + own + more


def list_conditions(method: str, language: str) -> tuple[str, ...]:
    """List the conditions of a method in a language."""
    if method not in OVER:
        return ("task alone",)
    return ("none", "source") if language == "en" else ("none", "source", "target")


def name_task(task: str, method: str, seed: int) -> str:
    """Name a task's graft."""
    return f"{task}-{method}" + (f"-seed-{seed}" if seed else "")


def make_result(method: str, task: str, language: str, condition: str, seed: int) -> Result:
    """Make one result."""
    suffix = "-lt-sft" if method == "lt-sft" else ""
    below = {"source": f"en{suffix}", "target": f"{language}{suffix}"}.get(condition)
    name = name_task(task, method, seed)
    score = score_of(method, task, language, condition, seed)
    return Result(
        task=task,
        language=language,
        condition=condition,
        plan=f"stack({below}, {name})" if below else name,
        metric=METRICS[task],
        score=score,
        low=score - 0.024,
        high=score + 0.023,
        num_sentences=310 if language == "qu" else 1004,
        num_gold=402 if language == "qu" else 1893,
        seconds=18.3 + (4.1 if below else 0.0),
        tokens_per_second=5210.0,
        seed=seed,
        method=method,
        source="en",
        predictions=f"{abs(hash_text(name, language, condition)):064x}",
    )


def hash_text(*facts: object) -> int:
    """Give a whole number that hangs on some facts alone."""
    return int(1e12 * wobble(*facts))


def make_results(methods: tuple[str, ...] = tuple(LEVELS)) -> tuple[Result, ...]:
    """Make all results, in the order of a run."""
    return tuple(
        make_result(method, task, language, condition, seed)
        for seed in SEEDS
        for method in methods
        for task, languages in TESTS.items()
        for language in languages
        for condition in list_conditions(method, language)
    )


def make_rechecks(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Score the earlier tasks again after each later one: `sequential` forgets, the others do not."""
    tasks = list(TESTS)
    again: list[Result] = []
    for result in results:
        if result.condition != list_conditions(result.method, result.language)[-1]:
            continue
        for place, later in enumerate(tasks):
            if place <= tasks.index(result.task):
                continue
            found = dataclasses.replace(result, after=later)
            if result.method == "sequential":
                lost = LOST[result.task][place - 1] + 0.01 * wobble(result.language, result.seed, later)
                found = dataclasses.replace(found, score=result.score - lost, predictions=f"{place:064x}")
            again.append(found)
    return tuple(sorted(again, key=lambda each: tasks.index(each.after)))


def make_contests(results: tuple[Result, ...]) -> tuple[Contest, ...]:
    """Make the contests of every two methods, with intervals as wide as such test sets give."""
    contests: list[Contest] = []
    for task, languages in TESTS.items():
        for language in languages:
            known: dict[str, dict[int, Result]] = {}
            for result in results:
                if (result.task, result.language) == (task, language):
                    known.setdefault(result.method, {})[result.seed] = result
            for first, other in itertools.combinations(known, 2):
                gains = {
                    str(seed): known[first][seed].score - known[other][seed].score for seed in known[first]
                }
                gain = statistics.fmean(gains.values())
                half = 0.03 if language == "qu" else 0.016
                contests.append(
                    Contest(
                        task=task,
                        language=language,
                        source="en",
                        metric=METRICS[task],
                        method=first,
                        condition=known[first][0].condition,
                        other_method=other,
                        other_condition=known[other][0].condition,
                        gain=gain,
                        low=gain - half,
                        high=gain + half,
                        p_value=max(0.002, math.erfc(abs(gain) / half * 1.96 / math.sqrt(2))),
                        by_seed=gains,
                    )
                )
    return tuple(contests)


def make_means(results: tuple[Result, ...]) -> tuple[SeedMean, ...]:
    """Make the means over the seeds, with intervals a little narrower than those of one seed."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        groups.setdefault((r.task, r.language, r.metric, r.method, r.condition), []).append(r)
    return tuple(
        SeedMean(
            task=task,
            language=language,
            source="en",
            metric=metric,
            method=method,
            condition=condition,
            seeds=tuple(r.seed for r in group),
            score=(score := statistics.fmean(r.score for r in group)),
            deviation=statistics.stdev(r.score for r in group),
            low=score - 0.021,
            high=score + 0.02,
        )
        for (task, language, metric, method, condition), group in groups.items()
    )


def make_gains(results: tuple[Result, ...]) -> tuple[Gain, ...]:
    """Make what the target's graft gains over the other conditions of its method."""
    by_place = {(r.method, r.task, r.language, r.condition, r.seed): r for r in results}
    return tuple(
        Gain(
            task=r.task,
            language=r.language,
            metric=r.metric,
            condition="target",
            other=other,
            gain=(gain := r.score - by_place[r.method, r.task, r.language, other, r.seed].score),
            low=gain - 0.015,
            high=gain + 0.015,
            p_value=0.01,
            seed=r.seed,
            method=r.method,
            source="en",
        )
        for r in results
        if r.condition == "target"
        for other in ("none", "source")
    )


def make_task_graft(task: str, method: str, seed: int) -> GraftSummary:
    """Make the graft or the copy of a task."""
    is_copy = method in ("full", "sequential")
    size = 117_653_760 + 3_465 if is_copy else SIZES[method]
    stored = 3_570_000 if method == "lt-sft" else 4 * size + 2048
    tasks = list(TESTS)
    before = tasks.index(task) - 1
    graft = make_graft(name_task(task, method, seed), role="task", language="en", plan=task)
    return dataclasses.replace(
        graft,
        task=task,
        method=method,
        seed=seed,
        is_copy=is_copy,
        after=name_task(tasks[before], method, seed) if method == "sequential" and before >= 0 else None,
        kinds=("delta", "head") if is_copy else (method, "head"),
        num_parameters=size,
        num_bytes=stored,
        seconds=(2350.0 if is_copy else 655.0) + 20 * seed,
        tokens_per_second=390.0 if is_copy else 1410.0,
        peak_memory_above_start_bytes=2_450_000_000 if is_copy else 640_000_000 + 1_000_000 * seed,
        curve=tuple(make_curve(num_points=20, start=1.4, end=0.1, dev=(0.3, LEVELS[method]))),
    )


WORDS = ("Yaron", "suna", "karatu", "a", "makaranta", ".")
TAGS = ("NOUN", "PRON", "VERB", "ADP", "NOUN", "PUNCT")
WRONG_TAGS = ("PROPN", "PRON", "VERB", "ADP", "NOUN", "PUNCT")
TEXTS = {
    "Hukumar zabe ta sanar da sakamakon zaben gwamna a Kano.": ("politics", "business"),
    "Super Eagles sun doke Ghana da ci biyu da nema.": ("sports", "sports"),
}
"""Each with its label and what every second method gives it."""


def make_study_examples(methods: tuple[str, ...]) -> tuple[ExampleSummary, ...]:
    """Make what each method predicted of sentences and texts of each task."""
    found: list[ExampleSummary] = []
    for number, method in enumerate(methods):
        for example in make_examples():
            tags = list(example.predicted.values())[number % 3]
            found.append(make_reading(example, tags, method=method, task="ner"))
        pos = ExampleSummary(language="hau", tokens=WORDS, gold=TAGS, predicted={})
        found.append(make_reading(pos, (TAGS, WRONG_TAGS)[number % 2], method=method, task="pos"))
        for text, labels in TEXTS.items():
            topic = ExampleSummary(
                language="hau", tokens=(text,), gold=labels[:1], predicted={}, is_text=True
            )
            found.append(make_reading(topic, (labels[number % 2],), method=method, task="topic"))
    return tuple(found)


def make_reading(example: ExampleSummary, tags: tuple[str, ...], *, method: str, task: str) -> ExampleSummary:
    """Make what a method predicted of a sentence, the same under all of its conditions."""
    return dataclasses.replace(
        example,
        predicted=dict.fromkeys(list_conditions(method, example.language), tags),
        task=task,
        source="en",
        method=method,
        metric=METRICS[task],
    )


def make_study(methods: tuple[str, ...] = tuple(LEVELS)) -> RunSummary:
    """Make the whole comparison."""
    results = make_results(methods)
    texts = [
        (code, f"{code}{suffix}")
        for method, suffix in (("madx", ""), ("lt-sft", "-lt-sft"))
        if method in methods
        for code in ("en", *TARGETS)
    ]
    languages = [
        make_graft(name, role="language", language=code, plan=f"stack(mlm, {name})") for code, name in texts
    ]
    tasks = [make_task_graft(task, method, seed) for seed in SEEDS for method in methods for task in TESTS]
    return dataclasses.replace(
        make_summary(),
        name="eight-ways",
        command="polygraft run eight-ways.toml",
        recipe_text=f"methods = {list(methods)}\nseeds = [0, 1, 2]\nforgetting = true\n",
        grafts=(make_graft("mlm", role="head"), *languages, *tasks),
        results=results,
        rechecks=make_rechecks(results),
        means=make_means(results),
        contests=make_contests(results),
        gains=make_gains(results),
        examples=make_study_examples(methods),
        seconds=93_200.0,
        predicted_seconds=88_000.0,
    )
