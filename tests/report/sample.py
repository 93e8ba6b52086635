"""A run as it might be: English labels, four target languages, three conditions."""

from __future__ import annotations

import math

from polygraft.evaluate.gain import Gain
from polygraft.evaluate.result import Result
from polygraft.evaluate.spans import TypeScore
from polygraft.report.summary import BaseSummary, ExampleSummary, GraftSummary, RunSummary

RECIPE = """\
name = "ner-en-to-four"
base = "bundled"

[source]
language = "en"
text = "text/en.txt"
train = "ner/en/train.conll"
dev = "ner/en/dev.conll"

[[targets]]
language = "qu"
text = "text/qu.txt"
test = "ner/qu/test.conll"

[language_graft]
parts = [{ kind = "bottleneck", reduction = 2 }, { kind = "invertible", reduction = 2 }]
steps = 1500

[task_graft]
parts = [{ kind = "bottleneck", reduction = 16 }, { kind = "head", labels = "ner" }]
steps = 450
"""

SCORES = {
    "en": {"task alone": (0.815, 0.019), "source": (0.828, 0.018), "target": (0.828, 0.018)},
    "qu": {"task alone": (0.307, 0.041), "source": (0.332, 0.042), "target": (0.274, 0.039)},
    "hau": {"task alone": (0.412, 0.022), "source": (0.437, 0.023), "target": (0.499, 0.022)},
    "swa": {"task alone": (0.541, 0.024), "source": (0.558, 0.023), "target": (0.566, 0.024)},
    "yor": {"task alone": (0.263, 0.027), "source": (0.251, 0.026), "target": (0.248, 0.029)},
}
"""Score and half the interval's width, by language and condition."""


def make_result(language: str, condition: str, *, score: float, half: float | None, seed: int = 1) -> Result:
    """Make one result of the sample run."""
    graft = {"source": "en", "target": language}.get(condition)
    return Result(
        task="ner",
        language=language,
        condition=condition,
        plan="ner-alone" if graft is None else f"stack({graft}, ner)",
        metric="f1",
        score=score,
        low=None if half is None else score - half,
        high=None if half is None else score + half,
        precision=score + 0.03,
        recall=score - 0.02,
        by_type={
            name: TypeScore(precision=score, recall=score, f1=score + more, num_gold=gold, num_predicted=gold)
            for name, more, gold in (("LOC", 0.06, 171), ("ORG", -0.05, 92), ("PER", 0.02, 139))
        },
        num_sentences={"en": 1000, "qu": 310}.get(language, 1004),
        num_gold={"en": 1711, "qu": 402}.get(language, 1893),
        seconds=21.4,
        tokens_per_second=5210.0,
        seed=seed,
        notes=("2 tags of the file were never seen in training: B-DATE, I-DATE.",)
        if language == "hau"
        else (),
    )


def make_gain(language: str, other: str, *, gain: float, half: float, seed: int = 1) -> Gain:
    """Make what the target's graft gains over another condition."""
    return Gain(
        task="ner",
        language=language,
        metric="f1",
        condition="target",
        other=other,
        gain=gain,
        low=gain - half,
        high=gain + half,
        p_value=0.01,
        seed=seed,
    )


def make_curve(
    *, num_points: int, start: float, end: float, dev: tuple[float, float] | None
) -> list[dict[str, float]]:
    """Make a curve that falls from start to end with a small, fixed wobble."""
    curve: list[dict[str, float]] = []
    for index in range(num_points):
        share = index / max(num_points - 1, 1)
        fall = math.exp(-4 * share)
        wobble = 0.06 * (start - end) * math.sin(2.7 * index) * (1 - 0.6 * share)
        point = {"step": 10.0 * (index + 1), "loss": end + (start - end) * fall + wobble}
        if dev is not None and index % 9 == 8:
            point["dev"] = dev[1] + (dev[0] - dev[1]) * math.exp(-5 * share)
        curve.append(point)
    return curve


def make_graft(name: str, *, role: str, language: str | None = None, plan: str | None = None) -> GraftSummary:
    """Make one graft of the sample run."""
    is_task = role == "task"
    num_points = 45 if is_task else 150
    size = {"head": 149_000, "language": 1_186_000, "task": 301_833}[role]
    curve = (
        make_curve(num_points=45, start=1.4, end=0.06, dev=(0.4, 0.828))
        if is_task
        else make_curve(num_points=150, start=6.45, end=4.24, dev=(6.1, 4.5))
    )
    return GraftSummary(
        name=name,
        version=2 if is_task else 1,
        role=role,
        language=language,
        plan=plan,
        kinds={"head": ("head",), "language": ("bottleneck", "invertible")}.get(role, ("bottleneck", "head")),
        num_parameters=size,
        num_bytes=4 * size + 2048,
        seconds={"head": 220.0, "language": 812.0}.get(role, 655.0),
        tokens=num_points * 10 * 1536,
        tokens_per_second=1840.0 if role == "language" else 1410.0,
        peak_memory_bytes=2_310_000_000,
        peak_memory_above_start_bytes=640_000_000,
        padding=0.071,
        looked_up=0.8 if is_task else None,
        cache_memory_bytes=150_000_000 if is_task else None,
        cache_file_bytes=25_000_000 if is_task else None,
        steps=num_points * 10,
        curve=tuple(curve),
        scores={"dev_f1": 0.828} if is_task else {"dev_loss": 4.53},
        sha256=f"{sum(map(ord, name)):064x}".replace("0", "a"),
    )


def make_examples() -> tuple[ExampleSummary, ...]:
    """Make tagged sentences with every kind of error."""
    first = ExampleSummary(
        language="swa",
        tokens=(
            "Rais",
            "Samia",
            "Suluhu",
            "Hassan",
            "alifika",
            "Nairobi",
            "Jumanne",
            "kukutana",
            "na",
            "UN",
            ".",
        ),
        gold=("O", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "B-DATE", "O", "O", "B-ORG", "O"),
        predicted={
            "task alone": ("O", "B-PER", "I-PER", "O", "O", "B-LOC", "O", "O", "O", "B-LOC", "O"),
            "source": ("O", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "O", "O", "O", "B-LOC", "O"),
            "target": ("O", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "O", "B-PER", "O", "B-ORG", "O"),
        },
    )
    second = ExampleSummary(
        language="qu",
        tokens=("Qusqu", "llaqtapi", "Inka", "Garcilaso", "de", "la", "Vega", "paqarirqan", "."),
        gold=("B-LOC", "O", "B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O", "O"),
        predicted={
            "task alone": ("O", "O", "O", "B-PER", "I-PER", "I-PER", "I-PER", "O", "O"),
            "source": ("B-LOC", "O", "B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O", "O"),
            "target": ("B-LOC", "I-LOC", "B-ORG", "I-ORG", "I-ORG", "I-ORG", "I-ORG", "O", "O"),
        },
    )
    return first, second


def make_summary() -> RunSummary:
    """Make the whole sample run."""
    targets = ("qu", "hau", "swa", "yor")
    return RunSummary(
        name="ner-en-to-four",
        created="2026-02-03T14:05:06Z",
        recipe_text=RECIPE,
        command="polygraft run recipes/ner-en-to-four.toml --store grafts",
        base=BaseSummary(
            name="multilingual-e5-small",
            fingerprint="9f31c2d47b7704ab55e1c09a0f3e8d7c",
            num_parameters=117_653_760,
            num_bytes=470_615_040,
            family="bert",
        ),
        grafts=(
            make_graft("mlm-head", role="head"),
            *(
                make_graft(code, role="language", language=code, plan=f"stack({code})")
                for code in ("en", *targets)
            ),
            make_graft("ner", role="task", language="en", plan="stack(en, ner)"),
            make_graft("ner-alone", role="task", language="en", plan="ner-alone"),
        ),
        results=tuple(
            make_result(language, condition, score=score, half=half)
            for language, row in SCORES.items()
            for condition, (score, half) in row.items()
        ),
        examples=make_examples(),
        versions={"polygraft": "0.1.0", "torch": "2.13.0", "transformers": "5.5.0", "python": "3.11.7"},
        machine={"processor": "x86-64, 2 cores", "memory": "24 GB", "accelerator": None, "threads": 2},
        seconds=5720.0,
        predicted_seconds=5400.0,
        notes=("The Quechua test file is small: 310 sentences.",),
    )
