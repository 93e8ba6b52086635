"""What the command line refuses before it has loaded a base."""

from __future__ import annotations

import pytest
from tests.cli.conftest import Command
from tests.cli.learning import TEXT, TOKENS

from polygraft.errors import BaseModelError


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            (*TOKENS, "--part", "lora", "--option", "rnak=2"),
            "The part 'lora' has no option 'rnak'. Its options are rank, alpha, roles, skip_layers, rslora, dora. Did "
            "you mean 'rank'? Correct the name.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=many"),
            "The part 'lora' has rank='many'. Expected a value of the type int. Correct it.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=0"),
            "The part 'lora' has rank=0. Expected 1 or more. Correct it; 4, 8 and 16 are common.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", 'roles=["vlaue"]'),
            "The part 'lora' has roles with 'vlaue', which is no role of a linear layer. Expected some of query, key, "
            "value, output, up, gate, down. Did you mean 'value'? Correct it.",
        ),
        (
            (*TOKENS, "--part", "ia3", "--option", 'inputs=["down", "down"]'),
            "The part 'ia3' has inputs with 'down' twice. Expected each role once. Leave one out.",
        ),
        (
            (*TOKENS, "--part", "bitfit", "--option", "weights=[]"),
            "The part 'bitfit' has no weights, so it would change nothing. Expected roles or patterns of names, such "
            "as '*.bias'. Name at least one.",
        ),
        (
            (*TOKENS, "--part", "compacter", "--option", "reduction=0"),
            "The part 'compacter' has reduction=0, which makes no width. Expected a number from 0.125 to the size of "
            "what it reads. Choose a larger reduction.",
        ),
        (
            (*TOKENS, "--option", "placement=paralel"),
            "The part 'bottleneck' has placement='paralel'. Expected one of ffn, attention+ffn, parallel. Did you "
            "mean 'parallel'? Choose one.",
        ),
        (
            (*TOKENS, "--part", "prefix", "--part", "lora", "--option", "length=20"),
            "The options hold length = 20, and the graft learns with prefix and lora. Expected each option below the "
            "name of its part: prefix.KEY=VALUE on the command line, a table options.prefix in a recipe. Write it "
            "there.",
        ),
        (
            (*TOKENS, "--part", "ia3", "--option", "skip_layers=[1]"),
            "The options of the part 'ia3' hold skip_layers=[1]. Expected the layers that are left out beside them: "
            "--skip-layer on the command line, skip_layers in a recipe. Write them there.",
        ),
        (
            (*TOKENS, "--part", "prompt", "--skip-layer", "0"),
            "--skip-layer 0 was to leave out layers, and the graft learns with prompt, which stands in no layer. "
            "Expected it with parts that do, such as a bottleneck or a prefix. Leave it out.",
        ),
        (
            (*TOKENS, "--part", "lora", "--fuse", "qu"),
            "The graft 'new' was to mix other grafts and to learn with the part 'lora'. Expected one of the two. "
            "Leave out --fuse, or --part and --option.",
        ),
        (
            (*TOKENS, "--part", "lora", "--option", "rank=many", "--seeds", "0,1"),
            "The part 'lora' has rank='many'. Expected a value of the type int. Correct it.",
        ),
        (
            (*TEXT, "--part", "glow", "--option", "activation=rleu"),
            "There is no activation 'rleu'. Known are relu, gelu, gelu_new, swish, tanh, leakyrelu, sigmoid, linear. "
            "Did you mean 'relu'? Choose one.",
        ),
        (
            (*TEXT, "--reduction", "0"),
            "The graft 'new' would have no part: the reduction is 0, and no head or invertible part is asked for. "
            "Give a reduction above 0, such as 2.",
        ),
        (
            (*TEXT, "--under", "new"),
            "The plan 'new' below the new graft 'new' names 'new', which is there already. Each graft stands in a "
            "plan once. Choose another name.",
        ),
        (
            ("prune", "imp", "--train", "tagged.conll", "--sparsity", "0.5", "--rows", "joined"),
            "The rows are 'joined' and the objective is tokens. Expected mlm or causal beside them: labelled data has "
            "a row for each sentence or text. Leave the rows out, or learn from plain text.",
        ),
    ],
)
def test_what_needs_no_base_is_refused_before_one_is_loaded(
    polygraft: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
):
    loaded: list[str] = []
    monkeypatch.setattr("polygraft.base.load.load_base", lambda name, **_: loaded.append(name))
    done = polygraft(*words, "--name", "new")
    assert done.exit_code == 1
    assert " ".join(done.stderr.split()).endswith(sentence)
    assert loaded == []


def test_what_needs_a_base_is_told_once_it_is_loaded(polygraft: Command, monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []

    def load(name: str, **_: object) -> None:
        loaded.append(name)
        raise BaseModelError("The base was asked for.")

    monkeypatch.setattr("polygraft.base.load.load_base", load)
    done = polygraft(*TOKENS, "--name", "new", "--part", "lora", "--option", 'roles=["gate"]')
    assert done.stderr.endswith("The base was asked for.\n")
    assert loaded == ["base"]
