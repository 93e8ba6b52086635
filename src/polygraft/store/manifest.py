"""What a graft is, in words: the closed schema of graft.json."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta
from typing import cast

from polygraft.errors import StoreError
from polygraft.store.fields import Fields, JsonValue, parse_object, shown
from polygraft.store.migrate import SCHEMA, migrate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """One part of a graft and the options it was made with."""

    kind: str
    """The part's name in the table of parts, such as "bottleneck"."""
    options: Mapping[str, JsonValue]
    """The part's options, all of them."""


@dataclass(frozen=True, kw_only=True)
class BaseRecord:
    """The base that a graft was trained on."""

    name: str
    """What the base was loaded by."""
    fingerprint: str
    """Hash over the base's weights and configuration."""
    revision: str | None
    """The commit of a hub id, or nothing for a folder."""


@dataclass(frozen=True, kw_only=True)
class MemberRecord:
    """Another graft of the plan that a graft was trained under, or one that it was made of."""

    name: str
    """Its name at the time; renaming it later changes nothing here."""
    version: int
    """Its version."""
    sha256: str
    """The digest of its tensors."""


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """One file or data set that a graft was trained on."""

    name: str
    """What it is called; no machine's path."""
    sha256: str
    """The digest of its bytes."""
    num_examples: int
    """How many sentences or texts it has."""


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """The shape and number format of one tensor."""

    shape: tuple[int, ...]
    """Its sizes, empty for a single number."""
    dtype: str
    """Its format, as torch calls it: "float32"."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a graft but its numbers.

    `Store.put` fills `version`, `num_parameters`, `num_bytes`, `sha256` and `tensors`.
    """

    name: str
    """What plans call the graft: letters, digits, `_ . -`, at most 64."""
    parts: tuple[PartRecord, ...]
    """The parts, in order."""
    base: BaseRecord
    """The base it belongs to."""
    tokenizer: str
    """Fingerprint of the tokenizer it was trained with."""
    created: str
    """When it was made: ISO 8601, UTC."""
    schema: int = SCHEMA
    """Number of this schema."""
    version: int = 0
    """Its version in the store; 0 until it is put there."""
    trained_under: str | None = None
    """The plan it was trained under, as text."""
    members: tuple[MemberRecord, ...] = ()
    """The other grafts of that plan; without a plan, the grafts that it was made of, in their order."""
    objective: str | None = None
    """What training minimised: "mlm", "causal", "tokens" or "sequence"."""
    data: tuple[DataRecord, ...] = ()
    """What it was trained and chosen on."""
    hyperparameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """The options of the training run."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """The scores it ended with."""
    curve: tuple[Mapping[str, float], ...] = ()
    """Points of the training curve, such as `{"step": 10, "loss": 2.5}`."""
    cost: Mapping[str, float] = field(default_factory=dict[str, float])
    """What training took: seconds, tokens, tokens_per_second, peak_memory_bytes and more."""
    num_parameters: int = 0
    """How many floating-point numbers it holds; packed masks and places do not count."""
    num_bytes: int = 0
    """Size of graft.safetensors."""
    sha256: str = ""
    """Digest of graft.safetensors."""
    tensors: Mapping[str, TensorRecord] = field(default_factory=dict[str, TensorRecord])
    """Shape and format of every tensor."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Versions of polygraft, torch, transformers and Python."""
    step: str | None = None
    """Digest of the recipe step that made it."""


DIGEST = "digest"
"""The key of graft.json that vouches for all the others; a manifest in memory has none."""
_KEYS = (*(item.name for item in fields(Manifest)), DIGEST)


def check_name(name: str) -> str:
    """Give the name back if a graft may have it.

    Raises:
        StoreError: It may not; the sentence says what a name is made of.

    Example:
        >>> check_name("ner")
        'ner'
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{shown(name)} cannot be a graft's name. A name has 1 to 64 of the characters "
            "A-Z a-z 0-9 _ . -, begins with a letter or digit, and has no two dots in a row. "
            "Choose another name."
        )
    return name


def is_name(name: str) -> bool:
    """Say whether a graft may have a name."""
    try:
        check_name(name)
    except StoreError:
        return False
    return True


def manifest_to_json(manifest: Manifest) -> str:
    """Write a manifest as JSON with its digest; equal manifests give equal text.

    Raises:
        StoreError: A value cannot be written as JSON, such as NaN among the scores.
    """
    try:
        document = {item: _plain(inner) for item, inner in vars(manifest).items()}
        document[DIGEST] = digest_document(document)
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"The manifest of graft {shown(manifest.name)} cannot be written as JSON: {error}. "
            "Text, finite numbers, true, false, null, lists and objects were expected. "
            "Change the value and put the graft in again."
        ) from None


def digest_document(document: Mapping[str, object]) -> str:
    """Give the digest of a manifest's document: sha256 over its shortest JSON, keys sorted, without `digest`.

    Example:
        >>> digest_document({"name": "ner"}) == digest_document({"digest": "0f", "name": "ner"})
        True
    """
    vouched = {key: value for key, value in document.items() if key != DIGEST}
    text = json.dumps(vouched, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_from_json(text: str | bytes, *, where: str = "graft.json") -> Manifest:
    """Read a manifest; nothing that the schema does not know passes, and nothing that was changed.

    Args:
        text: The JSON.
        where: What the messages call the place it came from.

    Raises:
        StoreError: A key is unknown, missing or of the wrong type, the digest is that of another manifest, or
            the schema is too new.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    document = parse_object(data, where=where)
    raw = Fields(migrate(document, where=where), where=where, known=_KEYS)
    if DIGEST in document:
        _check_digest(document, raw)
    name = raw.text("name")
    try:
        check_name(name)
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from None
    base = raw.object("base", known=("name", "fingerprint", "revision"))
    return Manifest(
        schema=raw.whole("schema", at_least=1),
        name=name,
        version=raw.whole("version"),
        parts=tuple(
            PartRecord(kind=item.text("kind"), options=item.mapping("options"))
            for item in raw.objects("parts", known=("kind", "options"))
        ),
        base=BaseRecord(
            name=base.text("name"),
            fingerprint=base.text("fingerprint"),
            revision=base.optional_text("revision"),
        ),
        tokenizer=raw.text("tokenizer"),
        trained_under=raw.optional_text("trained_under"),
        members=tuple(
            MemberRecord(name=item.text("name"), version=item.whole("version"), sha256=item.text("sha256"))
            for item in raw.objects("members", known=("name", "version", "sha256"))
        ),
        objective=raw.optional_text("objective"),
        data=tuple(
            DataRecord(
                name=item.text("name"), sha256=item.text("sha256"), num_examples=item.whole("num_examples")
            )
            for item in raw.objects("data", known=("name", "sha256", "num_examples"))
        ),
        hyperparameters=raw.mapping("hyperparameters"),
        scores=raw.numbers("scores"),
        curve=raw.rows("curve"),
        cost=raw.numbers("cost"),
        num_parameters=raw.whole("num_parameters"),
        num_bytes=raw.whole("num_bytes"),
        sha256=_sha256(raw, "sha256"),
        tensors={
            tensor: TensorRecord(shape=item.wholes("shape"), dtype=item.text("dtype"))
            for tensor, item in raw.named_objects("tensors", known=("shape", "dtype")).items()
        },
        versions=raw.texts("versions"),
        created=_time(raw),
        step=raw.optional_text("step"),
    )


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {item: _plain(inner) for item, inner in vars(value).items()}
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        wrong = [key for key in mapping if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"the key {shown(wrong[0])} is not text")
        return {key: _plain(inner) for key, inner in mapping.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    return value


def _check_digest(document: Mapping[str, JsonValue], raw: Fields) -> None:
    found, said = digest_document(document), _sha256(raw, DIGEST)
    if found != said:
        raise StoreError(
            f"{raw.where} does not match its own digest: sha256 over its other keys is {found}, the key '{DIGEST}' "
            f"says {said or 'nothing'}. The file was changed after it was written. Put the graft in again."
        )


def _sha256(raw: Fields, key: str) -> str:
    text = raw.text(key)
    if text and not _SHA256.fullmatch(text):
        raise raw.wrong(key, text, "a digest of 64 hexadecimal digits")
    return text


def _time(raw: Fields) -> str:
    text = raw.text("created")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise raw.wrong("created", text, "a date and time in ISO 8601") from None
    if moment.utcoffset() != timedelta(0):
        raise raw.wrong("created", text, "a date and time in UTC, such as 2026-01-31T12:00:00+00:00,")
    return text
