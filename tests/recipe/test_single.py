"""One graft trained outside of a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.tiny import make_base

from polygraft.errors import DataError, OptionError, PlanError
from polygraft.recipe import order as order_file
from polygraft.recipe.order import Order, hash_order
from polygraft.recipe.single import train_graft
from polygraft.store.manifest import Manifest
from polygraft.store.store import Store
from polygraft.train.loop import Interrupted
from polygraft.train.settings import TrainSettings
from polygraft.train.step import Step

SETTINGS = TrainSettings(steps=4, batch_tokens=96)


def make_order(**changes: Any) -> Order:
    data = Path("data")
    files = {
        "mlm": {"train": data / "en.txt"},
        "tokens": {"train": data / "train.conll", "dev": data / "dev.conll"},
    }
    objective = changes.get("objective", "tokens")
    return Order(
        **{"name": "new", "objective": objective, "settings": SETTINGS, **files[objective], **changes}
    )


def train(order: Order, store: str = "store", **options: Any) -> tuple[list[Step], Manifest]:
    *steps, stored = train_graft(make_base("bert"), order, store=Store(Path(store)), **options)
    assert isinstance(stored, Manifest)
    return [step for step in steps if isinstance(step, Step)], stored


def stop_after(count: int) -> Callable[[], bool]:
    asked: list[int] = []
    return lambda: bool(asked.append(1)) or len(asked) == count


@pytest.mark.parametrize("objective", ["mlm", "tokens"])
@pytest.mark.usefixtures("here")
def test_a_stopped_order_goes_on_and_ends_with_the_same_bytes(objective: str):
    whole = train(make_order(objective=objective), store="whole")[1]
    with pytest.raises(Interrupted, match="after step 2 of 4"):
        train(make_order(objective=objective), should_stop=stop_after(2))
    steps, stored = train(make_order(objective=objective))
    assert [step.number for step in steps] == [3, 4]
    assert (stored.sha256, stored.step, stored.scores) == (whole.sha256, whole.step, whole.scores)
    assert not list(Path("store/.checkpoints").glob("new*"))


@pytest.mark.usefixtures("here")
def test_an_order_that_was_carried_out_is_not_trained_again():
    first = train(make_order())[1]
    assert train(make_order()) == ([], first)
    again, second = train(make_order(settings=TrainSettings(steps=2, batch_tokens=96)))
    assert (len(again), second.version) == (2, 2)


@pytest.mark.usefixtures("here")
def test_an_order_is_another_one_in_int8():
    base, store = make_base("bert"), Store(Path("store"))
    first = train(make_order())[1]
    *_, second = train_graft(dataclasses.replace(base, is_int8=True), make_order(), store=store)
    assert isinstance(second, Manifest)
    assert (first.version, second.version) == (1, 2)


@pytest.mark.usefixtures("here")
def test_an_order_given_again_for_an_older_version_makes_the_name_mean_it():
    first = train(make_order())[1]
    train(make_order(settings=TrainSettings(steps=2, batch_tokens=96)))
    told: list[str] = []
    assert train(make_order(), notify=told.append) == ([], first)
    assert told == [
        "The name 'new' now means version 1, which this command made; it meant version 2, which stays in the store."
    ]
    assert Store(Path("store")).manifest("new").version == 1
    assert train(make_order(), notify=told.append) == ([], first)
    assert len(told) == 1


@pytest.mark.usefixtures("here")
def test_a_text_of_one_line_has_no_held_out_loss():
    Path("data/one.txt").write_text("ana went to the house\n")
    told: list[str] = []
    order = make_order(objective="mlm", train=Path("data/one.txt"))
    steps, stored = train(order, notify=told.append)
    assert told == [
        "Only one line of one.txt is there to learn from: none is kept apart, and no held-out loss is measured. Give "
        "two or more lines, better some hundred."
    ]
    assert (stored.scores, [step.held_out for step in steps]) == ({}, [None] * 4)
    assert [(record.name, record.num_examples) for record in stored.data] == [("train one.txt", 1)]


@pytest.mark.usefixtures("here")
def test_a_dev_text_is_measured_on_whatever_the_length_of_the_other():
    Path("data/one.txt").write_text("ana went to the house\n")
    order = make_order(objective="mlm", train=Path("data/one.txt"), dev=Path("data/en.txt"))
    stored = train(order)[1]
    assert list(stored.scores) == ["held_out_loss"]
    assert [record.num_examples for record in stored.data] == [1, 30]


@pytest.mark.usefixtures("here")
def test_pieces_that_the_text_does_not_have_can_be_scored_too():
    Path("data/few.txt").write_text("ana went to the house\nana went\n" * 20)
    order = make_order(
        objective="mlm", train=Path("data/few.txt"), settings=TrainSettings(steps=1, batch_tokens=96)
    )
    plain, more, most = (
        train(dataclasses.replace(order, negatives=count), store=str(count))[0][0].loss
        for count in (0, 5, 1000)
    )
    # Every further piece takes some of the probability, and the few that are drawn stand for all of them.
    assert plain < min(more, most)
    assert abs(more - most) < most - plain


@pytest.mark.parametrize("dev", [None, Path("data/qu.txt")])
@pytest.mark.usefixtures("here")
def test_joined_lines_are_learned_from_and_the_measure_stays_the_same(dev: Path | None):
    # So slow that the graft stays the identity.
    settings = TrainSettings(steps=4, batch_tokens=96, lr=1e-12)
    order = make_order(objective="mlm", dev=dev, settings=settings)
    first, plain = train(order)
    second, joined = train(dataclasses.replace(order, rows="joined"))
    assert (plain.version, joined.version) == (1, 2)
    assert [found.hyperparameters["rows"] for found in (plain, joined)] == ["sentences", "joined"]
    assert plain.data == joined.data
    assert [step.loss for step in first] != [step.loss for step in second]
    assert joined.scores["held_out_loss"] == pytest.approx(plain.scores["held_out_loss"], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"objective": "mlm", "rows": "joint"},
            "The rows are 'joint'. Expected sentences or joined. Did you mean 'joined'? Correct the word.",
        ),
        (
            {"rows": "joined"},
            "The rows are 'joined' and the objective is tokens. Expected mlm or causal beside them: labelled data has "
            "a row for each sentence or text. Leave the rows out, or learn from plain text.",
        ),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(changes: dict[str, Any], sentence: str):
    with pytest.raises(OptionError) as caught:
        make_order(**changes)
    assert str(caught.value) == sentence


@pytest.mark.usefixtures("here")
def test_rows_that_are_too_long_are_told():
    with Path("data/train.conll").open("a", encoding="utf-8") as file:
        file.write("\n" + "ana\tB-PER\n" * 60)
    told: list[str] = []
    train(make_order(dev=None), notify=told.append)
    assert told == [
        "1 of 31 rows of train.conll are longer than 40 tokens; what is past that (22 words) is not learned from."
    ]


@pytest.mark.parametrize("use", ["train", "dev"])
@pytest.mark.usefixtures("here")
def test_text_that_the_tokenizer_does_not_know_is_named(use: str):
    Path("data/strange.txt").write_text("\x7f\n")
    with pytest.raises(DataError) as caught:
        train(make_order(objective="mlm", **{use: Path("data/strange.txt")}))
    assert str(caught.value) == (
        "None of the 1 lines of data/strange.txt has a token that the tokenizer knows. Text in the tokenizer's script "
        "was expected. Check the file, or take a base that was trained on this script."
    )


@pytest.mark.usefixtures("here")
def test_labels_that_teach_nothing_are_refused_with_their_file():
    Path("data/none.conll").write_text("ana O\nwent O\n")
    with pytest.raises(DataError) as caught:
        train(make_order(train=Path("data/none.conll")))
    assert str(caught.value) == (
        "data/none.conll has no label but 'O'. Two or more were expected: from one alone nothing can be learned. Check "
        "that the file is the one you meant and which column holds the tags (tag_column)."
    )


@pytest.mark.usefixtures("here")
def test_a_damaged_checkpoint_is_told():
    with pytest.raises(Interrupted):
        train(make_order(), should_stop=stop_after(3))
    [path] = Path("store/.checkpoints").glob("new-*/step-*")
    (path / "state.safetensors").write_bytes(b"x")
    told: list[str] = []
    steps, _ = train(make_order(), notify=told.append)
    assert len(steps) == 4
    assert told[:1] == [
        f"The checkpoint {path.name} in {path.parent} cannot be read (ValueError); training goes on from the one "
        "before, or from the start if there is none."
    ]
    assert [sentence.partition(":")[0] for sentence in told[1:]] == ["The best dev score of 'new' is 0"]


@pytest.mark.usefixtures("here")
def test_a_graft_is_trained_over_frozen_ones_and_says_so():
    below = train(make_order(name="en", objective="mlm"))[1]
    _, stored = train(make_order(under="en"))
    assert stored.trained_under == "stack(en, new)"
    assert [(member.name, member.version, member.sha256) for member in stored.members] == [
        ("en", 1, below.sha256)
    ]
    assert [(record.name, record.num_examples) for record in stored.data] == [
        ("train train.conll", 30),
        ("dev dev.conll", 10),
    ]
    assert Store(Path("store")).verify("en").sha256 == below.sha256


@pytest.mark.usefixtures("here")
def test_a_language_graft_stands_below_the_bottleneck_of_the_masked_lm_head():
    mlm = train(make_order(objective="mlm", name="mlm", head_layer=-1, from_layer=2))[1]
    assert mlm.parts[0].options["skip_layers"] == [0, 1]
    stored = train(make_order(objective="mlm", name="qu", under="mlm"))[1]
    [part] = stored.parts
    assert part.options["skip_layers"] == [2]


@pytest.mark.parametrize(
    ("changes", "skipped"),
    [
        ({"from_layer": 0}, []),
        ({"from_layer": 1}, [0]),
        ({"from_layer": 1, "skip_layers": (-1,)}, [-1, 0]),
        ({"from_layer": 1, "head_layer": 2}, [0, 2]),
        ({"from_layer": 0, "under": "mlm"}, [2]),
    ],
)
@pytest.mark.usefixtures("here")
def test_the_bottleneck_begins_where_it_was_asked_for(changes: dict[str, Any], skipped: list[int]):
    train(make_order(objective="mlm", name="mlm", head_layer=-1, from_layer=2))
    assert train(make_order(objective="mlm", **changes))[1].parts[0].options["skip_layers"] == skipped


@pytest.mark.parametrize(
    ("changes", "free", "last"),
    [
        ({"from_layer": 3}, "0, 1, 2", 2),
        ({"from_layer": -1}, "0, 1, 2", 2),
        ({"from_layer": 2, "head_layer": 2}, "0, 1", 1),
        ({"from_layer": 2, "skip_layers": (-1,)}, "0, 1", 1),
        ({"from_layer": 2, "under": "mlm"}, "0, 1", 1),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_bottleneck_that_would_begin_above_all_layers_is_refused(
    changes: dict[str, Any], free: str, last: int
):
    train(make_order(objective="mlm", name="mlm", head_layer=-1, from_layer=2))
    with pytest.raises(OptionError) as caught:
        train(make_order(objective="mlm", **changes))
    assert str(caught.value) == (
        f"The bottleneck of 'new' would begin at layer {changes['from_layer']}, and the layers that may have one are "
        f"{free}, counted from 0. Expected a number from 0 to {last}. Give another --from-layer."
    )


@pytest.mark.usefixtures("here")
def test_a_head_alone_begins_nowhere():
    stored = train(make_order(objective="mlm", name="mlm", head_layer=-1, reduction=0, from_layer=9))[1]
    assert [part.kind for part in stored.parts] == ["head"]


@pytest.mark.usefixtures("here")
def test_what_changes_no_number_makes_no_other_order():
    plain = make_order()
    steps, stored = train(plain)
    assert steps
    assert stored.hyperparameters["processes"] == 1
    for changed in ({"recompute": True}, {"checkpoint_every": 1}):
        again = dataclasses.replace(plain, settings=dataclasses.replace(plain.settings, **changed))
        assert train(again)[0] == []
    base = make_base("bert")
    assert hash_order(base, plain, {}) == stored.step
    for changed in ({"compile": True}, {"dropout": True}):
        other = dataclasses.replace(plain, settings=dataclasses.replace(plain.settings, **changed))
        assert hash_order(base, other, {}) != stored.step
    rounded = dataclasses.replace(plain, settings=dataclasses.replace(plain.settings, precision="bfloat16"))
    steps, stored = train(rounded)
    assert (len(steps), stored.version) == (4, 2)


@pytest.mark.usefixtures("here")
def test_a_graft_cannot_stand_on_itself():
    train(make_order())
    with pytest.raises(PlanError) as caught:
        train(make_order(under="new"))
    assert str(caught.value) == (
        "The plan 'new' below the new graft 'new' names 'new', which is there already. Each graft stands in a plan "
        "once. Choose another name."
    )


@pytest.mark.usefixtures("here")
def test_text_needs_a_masked_lm_head():
    base = make_base("bert", with_head=False)
    with pytest.raises(PlanError) as caught:
        list(train_graft(base, make_order(objective="mlm"), store=Store(Path("store"))))
    assert str(caught.value) == (
        "The base 'tiny-bert' has no masked-LM head, and no graft below 'new' has one. Expected one to train "
        "against. Train one with it (--head-layer 8), or name a graft that has one (--under mlm)."
    )


@pytest.mark.usefixtures("here")
def test_a_graft_needs_a_part():
    with pytest.raises(OptionError) as caught:
        train(make_order(objective="mlm", reduction=0))
    assert str(caught.value) == (
        "The graft 'new' would have no part: the reduction is 0, and no head or invertible part is asked for. Give a "
        "reduction above 0, such as 2."
    )


@pytest.mark.parametrize("objective", ["mlm", "tokens"])
@pytest.mark.usefixtures("here")
def test_dropout_is_refused_before_the_data_is_read_where_the_base_has_none(objective: str):
    order = make_order(objective=objective, settings=dataclasses.replace(SETTINGS, dropout=True))
    base = make_base("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    # Nobody can read it.
    order.train.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(
        OptionError, match=r"^A graft was to be trained with dropout, and the base 'tiny-bert' has"
    ):
        list(train_graft(base, order, store=Store(Path("store"))))


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.usefixtures("here")
def test_what_came_later_is_in_the_digest_of_an_order_that_asks_for_it(
    dropout: bool, monkeypatch: pytest.MonkeyPatch
):
    facts: list[Any] = []
    monkeypatch.setattr(
        order_file, "json", SimpleNamespace(dumps=lambda given, **_: facts.append(given) or "")
    )
    order = make_order(settings=dataclasses.replace(SETTINGS, dropout=dropout))
    hash_order(make_base("bert"), order, {})
    assert ("dropout" in facts[0]["settings"]) == dropout
