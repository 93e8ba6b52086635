"""Attacks on graft.json."""

from __future__ import annotations

import json
from pathlib import Path

from attacks.attack import Attack, alter, edit, not_json, not_vouched, wrong


def _write(folder: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / "graft.json").write_bytes(data)


def _replace(folder: Path, old: str, new: str) -> None:
    text = (folder / "graft.json").read_text("utf-8")
    changed = text.replace(old, new, 1)
    if changed == text:
        raise ValueError(f"{old!r} does not stand in the manifest.")
    _write(folder, changed)


def _huge(folder: Path) -> None:
    with (folder / "graft.json").open("r+b") as file:
        file.truncate(1 << 40)


def _drop(folder: Path, key: str) -> None:
    raw = json.loads((folder / "graft.json").read_text("utf-8"))
    del raw[key]
    _write(folder, json.dumps(raw))


DIGEST = "332149411dbba743c97df4ef2ade996e429d495cda6c1f8e9dacdca02dd6d4e6"
"""What vouches for the manifest of the good graft."""

ATTACKS = {
    "an empty manifest": Attack(
        spoil=lambda folder: _write(folder, ""), says=not_json("line 1, column 1: Expecting value")
    ),
    "a manifest that is a list": Attack(
        spoil=lambda folder: _write(folder, "[]"),
        says=not_json("it holds a list where an object was expected"),
    ),
    "a manifest that is null": Attack(
        spoil=lambda folder: _write(folder, "null"),
        says=not_json("it holds null where an object was expected"),
    ),
    "a manifest of a terabyte": Attack(
        spoil=_huge,
        says=(
            "{folder}/graft.json has 1099511627776 bytes, where at most 16777216 were expected. It was not "
            "written by polygraft. Remove it, or put the graft in again."
        ),
    ),
    "pickle bytes for a manifest": Attack(
        spoil=lambda folder: _write(folder, b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x94."),
        says=not_json("byte 0 is not UTF-8"),
    ),
    "a manifest cut in the middle": Attack(
        spoil=lambda folder: _write(folder, '{"schema": 1, "na'),
        says=not_json("line 1, column 15: Unterminated string starting at"),
    ),
    "the same key twice": Attack(
        spoil=lambda folder: _replace(folder, '"schema": 2', '"schema": 2, "name": "en"'),
        says=not_json("the key 'name' stands twice in one object"),
    ),
    "a hundred thousand nested lists": Attack(
        spoil=lambda folder: _replace(folder, '"step": null', '"step": ' + "[" * 100_000 + "]" * 100_000),
        says=not_json("it is nested deeper than 32 levels"),
    ),
    "forty nested objects": Attack(
        spoil=lambda folder: _replace(
            folder, '"hyperparameters": {}', '"hyperparameters": ' + '{"a":' * 40 + "1" + "}" * 40
        ),
        says=not_json("it is nested deeper than 32 levels"),
    ),
    "NaN for a score": Attack(
        spoil=lambda folder: _replace(folder, "0.5", "NaN"),
        says=not_json("it holds NaN, which is not a number"),
    ),
    "a score beyond all floats": Attack(
        spoil=lambda folder: _replace(folder, "0.5", "1e999"),
        says=not_json("the number '1e999' is too large"),
    ),
    "a number of ten thousand digits": Attack(
        spoil=lambda folder: _replace(folder, "0.5", "9" * 10_000),
        says=not_json(
            "the number '999999999999999999999999999999999999999999999999999999999...' is too large"
        ),
    ),
    "half a surrogate pair": Attack(
        spoil=lambda folder: _replace(folder, '"tiny"', r'"tiny\ud800"'),
        says=not_json("'tiny\\ud800' has the control character U+D800"),
    ),
    "an escape sequence for the terminal": Attack(
        spoil=lambda folder: _replace(folder, '"tiny"', r'"\u001b[2Jtiny"'),
        says=not_json("'\\x1b[2Jtiny' has the control character U+001B"),
    ),
    "an unknown key": Attack(
        spoil=lambda folder: edit(folder, nmae="ner"),
        says=(
            "{folder}/graft.json has the key 'nmae', which the schema does not know. Did you mean 'name'? "
            "The known keys are name, parts, base, tokenizer, created, schema, version, trained_under, "
            "members, objective, data, hyperparameters, scores, curve, cost, num_parameters, num_bytes, "
            "sha256, tensors, versions, step, digest. Remove the key, or upgrade polygraft if a newer one wrote "
            "the file."
        ),
    ),
    "an unknown key in a part": Attack(
        spoil=lambda folder: edit(folder, parts=[{"kind": "head", "option": {}, "options": {}}]),
        says=(
            "{folder}/graft.json has the key 'option' in 'parts[0]', which the schema does not know. Did "
            "you mean 'options'? The known keys are kind, options. Remove the key, or upgrade polygraft if "
            "a newer one wrote the file."
        ),
    ),
    "a missing key": Attack(
        spoil=lambda folder: _drop(folder, "sha256"),
        says=(
            "{folder}/graft.json lacks the key 'sha256'. The keys name, parts, base, tokenizer, created, "
            "schema, version, trained_under, members, objective, data, hyperparameters, scores, curve, "
            "cost, num_parameters, num_bytes, sha256, tensors, versions, step, digest are all needed. Put the "
            "graft in again."
        ),
    ),
    "no digest": Attack(
        spoil=lambda folder: edit(folder, sha256=""),
        says=(
            "{folder}/graft.json gives no sha256 for graft.safetensors, so nothing can vouch for it. A "
            "digest of 64 hexadecimal digits was expected. Put the graft in again."
        ),
    ),
    "labels in another order": Attack(
        spoil=lambda folder: alter(folder, parts=[{"kind": "head", "options": {"labels": ["B", "O"]}}]),
        says=not_vouched("b3c44a9d5f162f651ff8747380931e532b27a10839ede8044f7dba4de9c6393b", DIGEST),
    ),
    "a part of another kind": Attack(
        spoil=lambda folder: alter(folder, parts=[{"kind": "lora", "options": {"reduction": 16}}]),
        says=not_vouched("be856b692dc9415aed129504f869d2fc9f5e266da1cdb4023cdcfe0eb1eb9c94", DIGEST),
    ),
    "a reduction of nothing": Attack(
        spoil=lambda folder: alter(folder, parts=[{"kind": "bottleneck", "options": {"reduction": 0}}]),
        says=not_vouched("0c1ad632d69bb21cf49509e01a97a8ceabc8a5a4510ccece2aa709f052c7b76c", DIGEST),
    ),
    "a better score": Attack(
        spoil=lambda folder: alter(folder, scores={"f1": 0.75}),
        says=not_vouched("fdcb9e19cf33594cf3fc6fa7f608602dc796bf9fdc307d712e8786fb6eebcb92", DIGEST),
    ),
    "an older schema beside its digest": Attack(
        spoil=lambda folder: alter(folder, schema=1),
        says=not_vouched("81fd2c5ae28dc0cbfed9482cc5b2e8e75f662e594afd45169de90305e08e08a6", DIGEST),
    ),
    "no digest of the manifest": Attack(
        spoil=lambda folder: _drop(folder, "digest"),
        says=(
            "{folder}/graft.json lacks the key 'digest'. The keys name, parts, base, tokenizer, created, "
            "schema, version, trained_under, members, objective, data, hyperparameters, scores, curve, "
            "cost, num_parameters, num_bytes, sha256, tensors, versions, step, digest are all needed. Put the "
            "graft in again."
        ),
    ),
    "a manifest's digest that is empty": Attack(
        spoil=lambda folder: alter(folder, digest=""), says=not_vouched(DIGEST, "nothing")
    ),
    "a digest of the manifest that is no text": Attack(
        spoil=lambda folder: alter(folder, digest=None), says=wrong("'digest' is None", "text")
    ),
    "a digest that is no digest": Attack(
        spoil=lambda folder: edit(folder, sha256="../../x"),
        says=wrong("'sha256' is '../../x'", "a digest of 64 hexadecimal digits"),
    ),
    "text for a number": Attack(
        spoil=lambda folder: edit(folder, num_bytes="many"),
        says=wrong("'num_bytes' is 'many'", "a whole number of at least 0"),
    ),
    "true for a number": Attack(
        spoil=lambda folder: edit(folder, num_bytes=True),
        says=wrong("'num_bytes' is True", "a whole number of at least 0"),
    ),
    "a negative size": Attack(
        spoil=lambda folder: edit(folder, num_bytes=-1),
        says=wrong("'num_bytes' is -1", "a whole number of at least 0"),
    ),
    "a list for an object": Attack(
        spoil=lambda folder: edit(folder, base=[]), says=wrong("'base' is []", "an object")
    ),
    "text for a score": Attack(
        spoil=lambda folder: edit(folder, scores={"f1": "high"}),
        says=wrong("'scores.f1' is 'high'", "a number"),
    ),
    "a schema of tomorrow": Attack(
        spoil=lambda folder: edit(folder, schema=99),
        says=(
            "{folder}/graft.json has schema 99, and this polygraft reads schemas 1 to 2. A newer polygraft "
            "wrote it. Upgrade with `pip install --upgrade polygraft`."
        ),
    ),
    "a schema that is no number": Attack(
        spoil=lambda folder: edit(folder, schema="1"),
        says=(
            "{folder}/graft.json: 'schema' is '1' where a whole number from 1 to 2 was expected. The file "
            "is no polygraft manifest, or was changed. Put the graft in again."
        ),
    ),
    "a date that is none": Attack(
        spoil=lambda folder: edit(folder, created="yesterday"),
        says=wrong("'created' is 'yesterday'", "a date and time in ISO 8601"),
    ),
    "a date of no time zone": Attack(
        spoil=lambda folder: edit(folder, created="2026-01-31T12:00:00"),
        says=wrong(
            "'created' is '2026-01-31T12:00:00'", "a date and time in UTC, such as 2026-01-31T12:00:00+00:00,"
        ),
    ),
    "a name that climbs out": Attack(
        spoil=lambda folder: edit(folder, name="../../etc/passwd"),
        says=(
            "{folder}/graft.json: '../../etc/passwd' cannot be a graft's name. A name has 1 to 64 of the "
            "characters A-Z a-z 0-9 _ . -, begins with a letter or digit, and has no two dots in a row. "
            "Choose another name."
        ),
    ),
    "a name of another graft": Attack(
        spoil=lambda folder: edit(folder, name="en"),
        says=(
            "{folder} holds version 1 of 'en', where version 1 of 'ner' was expected. The folder was moved "
            "by hand. Move it back, or use `polygraft grafts rename`."
        ),
    ),
    "another version": Attack(
        spoil=lambda folder: edit(folder, version=7),
        says=(
            "{folder} holds version 7 of 'ner', where version 1 of 'ner' was expected. The folder was moved "
            "by hand. Move it back, or use `polygraft grafts rename`."
        ),
    ),
    "a wrong count of parameters": Attack(
        spoil=lambda folder: edit(folder, num_parameters=3),
        says=(
            "{folder}/graft.safetensors holds 18 parameters, its manifest says 3. The manifest was changed "
            "after it was written. Put the graft in again."
        ),
    ),
}
