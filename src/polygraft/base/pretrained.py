"""Read a base with transformers: safetensors only, no code from the repository, nothing printed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from huggingface_hub import hf_hub_download
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from polygraft.base.pretrained_head import PretrainedHead, find_head
from polygraft.base.sites import Family, find_family, is_causal
from polygraft.errors import BaseModelError, PolygraftError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TOKENIZER_FILE = "tokenizer.json"
EXPECTED = (
    "Expected a Hugging Face id, a local folder with config.json, model.safetensors and tokenizer.json, or "
    "'bundled'."
)


class Pretrained(NamedTuple):
    """What a folder or a hub's repository holds."""

    model: PreTrainedModel
    """The bare encoder."""
    head: PretrainedHead | None
    """Its own head that scores pieces, if it has one."""
    tokenizer: PreTrainedTokenizerFast
    commit: str | None
    """The commit of a hub's repository."""


def load_pretrained(name: str, *, revision: str | None = None) -> Pretrained:
    """Load a bare encoder or decoder with its head that scores pieces and its tokenizer, as float32 on the CPU.

    Args:
        name: A Hugging Face id or a local folder.
        revision: A commit, branch or tag of the hub's repository.

    Raises:
        BaseModelError: The name leads nowhere, the family is unknown, or a file is missing or damaged.
    """
    source = _find_source(name)
    try:
        with _quiet_transformers():
            config: PretrainedConfig = AutoConfig.from_pretrained(
                source, revision=revision, trust_remote_code=False
            )
            family = find_family(str(config.model_type))
            model, head = _load_weights(name, source, revision, config, family)
            tokenizer = _load_tokenizer(name, source, revision, family)
    except PolygraftError:
        raise
    except Exception as error:
        # A damaged file makes transformers and tokenizers raise whatever they stumble over.
        raise BaseModelError(
            f"The base '{name}' cannot be loaded: {_first_sentence(error)} {EXPECTED} Check the name, or "
            "the network."
        ) from error
    num_known = len(model.get_input_embeddings().get_parameter("weight"))
    if len(tokenizer) > num_known:
        raise BaseModelError(
            f"The base '{name}' has embeddings for {num_known} pieces, and its tokenizer has "
            f"{len(tokenizer)}. "
            "Expected no piece without an embedding. Take the tokenizer that the base was trained with."
        )
    commit = vars(config).get("_commit_hash")
    return Pretrained(model, head, tokenizer, None if commit is None else str(commit))


def _find_source(name: str) -> str:
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name.startswith((".", "/", "~")):
        raise BaseModelError(f"There is no folder '{name}'. {EXPECTED} Check the path.")
    return name


def _first_sentence(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if line.endswith((".", "!", "?")) else f"{line.rstrip(':;,')}."


def _load_weights(
    name: str, source: str, revision: str | None, config: PretrainedConfig, family: Family
) -> tuple[PreTrainedModel, PretrainedHead | None]:
    with_head = _find_class_with_head(config)
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
        # Reported below, in a sentence.
        "ignore_mismatched_sizes": True,
    }
    if with_head is not None:
        found: Any = with_head.from_pretrained(source, **options)
        whole, report = found
        _refuse_random_weights(name, report)
        return whole.base_model, find_head(whole, family.heads)
    if family.has_pooler:
        # A pooler that the file lacks would be filled with random values: leave it out always.
        options["add_pooling_layer"] = False
    model, report = AutoModel.from_pretrained(source, **options)
    _refuse_random_weights(name, report)
    return model, None


def _find_class_with_head(
    config: PretrainedConfig,
) -> type[AutoModelForMaskedLM | AutoModelForCausalLM] | None:
    """Give what loads the files with a head that scores pieces, or None where they hold none."""
    names = [str(name) for name in config.architectures or ()]
    if not is_causal(config):
        return AutoModelForMaskedLM if any("ForMaskedLM" in name for name in names) else None
    # GPT-2's class has a name of its own. A bare decoder has its head too, where that is the word embeddings.
    is_bare = any(name.endswith("Model") for name in names) and bool(
        config.to_dict().get("tie_word_embeddings")
    )
    has_head = any(part in name for name in names for part in ("ForCausalLM", "LMHeadModel"))
    return AutoModelForCausalLM if has_head or is_bare else None


def _refuse_random_weights(name: str, report: Mapping[str, Any]) -> None:
    """Refuse a file that lacks weights, which transformers would fill with random values."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise BaseModelError(
            f"The base '{name}' lacks the tensor '{missing[0]}' ({len(missing)} missing in all). Expected "
            "every tensor "
            "that its config.json asks for. Download it again, or correct config.json."
        )
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        key, found, expected = mismatched[0]
        raise BaseModelError(
            f"The base '{name}' has a tensor '{key}' of the shape {list(found)} where its config.json asks "
            "for "
            f"{list(expected)} ({len(mismatched)} such in all). The two files do not belong together. "
            "Download it again."
        )


def _load_tokenizer(name: str, source: str, revision: str | None, family: Family) -> PreTrainedTokenizerFast:
    if Path(source).is_dir():
        # Without the file, transformers would make a tokenizer that knows no word.
        if not (Path(source) / TOKENIZER_FILE).is_file():
            raise BaseModelError(
                f"The base '{name}' has no {TOKENIZER_FILE}. Expected one beside config.json. Save one with "
                "`tokenizer.save_pretrained` from a fast tokenizer."
            )
    else:
        hf_hub_download(source, TOKENIZER_FILE, revision=revision)
    # For some decoders transformers makes a tokenizer of the family's usual kind, whatever kind the file is of.
    reader: Any = PreTrainedTokenizerFast if family.is_decoder else AutoTokenizer
    tokenizer = reader.from_pretrained(source, revision=revision, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BaseModelError(
            f"The base '{name}' has only a slow tokenizer ({type(tokenizer).__name__}). Expected a "
            f"{TOKENIZER_FILE}. Save one with `tokenizer.save_pretrained` from a fast tokenizer."
        )
    return tokenizer


@contextmanager
def _quiet_transformers() -> Generator[None]:
    """Keep transformers from printing while something loads; a download's own progress bar stays."""

    def make_silent(
        factory: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> object:
        return factory(*arguments, **{**options, "disable": True})

    verbosity = logging.get_verbosity()
    hook = logging.set_tqdm_hook(make_silent)
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)
