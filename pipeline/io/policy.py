"""The de-identification policy: rules/deid/*.yaml and the confidentiality table, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.sr._snomed_dict import mapping as snomed_mapping
from pydicom.sr.codedict import codes as code_dictionary

from pipeline.io.plainyaml import Document, Fault, read_plain
from pipeline.io.policyfiles import policy_digest, read_policy_file, read_policy_files, shipped_policy
from pipeline.io.strict import held_against, model_keys
from pipeline.model import deid
from pipeline.model.deid import Check, Handling, Otherwise, Policy, Purpose, Row, Scope, Vocabulary
from pipeline.model.errors import RulesError
from pipeline.model.rules import Number, Regex, Rule

Keyword = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]+$")]
Names = tuple[str, ...]
T = TypeVar("T", bound=Rule)


class _Items(Rule):
    """A sequence: what its items may hold, and what they must still hold afterwards."""

    holds: Names
    needs: tuple[Keyword, ...] = ()


class _Allow(Rule):
    """The first gate, `allow.yaml`: each element by the kind of check that it has to pass."""

    format: Literal["curate-deid-allow/1"]
    numbers: dict[Keyword, tuple[Number, Number]]
    codes: dict[Keyword, str | Names]
    texts: dict[Keyword, str | Names]
    otherwise: dict[Keyword, str]
    uids: tuple[Keyword, ...]
    known_uids: tuple[Keyword, ...]
    dates: tuple[Keyword, ...]
    times: tuple[Keyword, ...]
    moments: tuple[Keyword, ...]
    emptied: tuple[Keyword, ...]
    birth_date: tuple[Keyword, ...]
    or_empty: tuple[Keyword, ...]
    fixed: dict[Keyword, str]
    subject: tuple[Keyword, ...]
    pointers: tuple[Keyword, ...]
    tables: tuple[Keyword, ...]
    pixels: tuple[Keyword, ...]
    labels: dict[Keyword, tuple[str, Keyword]]
    code_sequences: tuple[Keyword, ...]
    code_required: tuple[Keyword, ...]
    code_holds: dict[Keyword, Names]
    sequences: dict[Keyword, _Items]
    needed: tuple[Keyword, ...]
    groups: dict[str, Names]


class _Words(Rule):
    """One vocabulary: whole values, patterns of whole values, or words that values are made of."""

    values: Names = ()
    patterns: tuple[Regex, ...] = ()
    words: Names = ()


class _Code(Rule):
    """A coded concept that the code dictionary lacks."""

    scheme: str
    value: str
    meaning: str


class _Vocabularies(Rule):
    """`vocabulary.yaml`."""

    format: Literal["curate-deid-vocabulary/1"]
    vocabularies: dict[str, _Words]
    scheme_synonyms: dict[str, str]
    unspecified: _Code
    codes: tuple[_Code, ...]


class _PrivateElement(Rule):
    """One safe private element: where it stands in its creator's block, and how it is checked."""

    group: Annotated[str, Field(pattern=r"^[0-9a-f]{3}[13579bdf]$")]
    offset: Annotated[str, Field(pattern=r"^[0-9a-f]{2}$")]
    name: str
    vr: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...]
    number: tuple[Number, Number] | None = None
    first_modulo: int | None = None
    code: str | Names | None = None
    holds: Names | None = None
    csa: dict[str, tuple[Number, Number]] | None = None


class _Private(Rule):
    """`private.yaml`: the safe private elements by creator."""

    format: Literal["curate-deid-private/1"]
    pointers: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{3}[13579bdf][0-9a-f]{4}$")], ...]
    creators: dict[str, tuple[_PrivateElement, ...]]


class _Purpose(Rule):
    """What one kind of object may hold."""

    classes: tuple[Keyword, ...]
    groups: Names
    options: Names


class _Settings(Rule):
    """`policy.yaml`: the choices."""

    format: Literal["curate-deid/1"]
    shift_days: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=36500)]]
    birth_date: Literal["emptied", "shifted"]
    issuer_counts: bool
    options: Names
    standard_uids: dict[Keyword, Annotated[str, Field(pattern=r"^1\.2\.840\.10008\.[0-9.]+$")]]
    method_codes: dict[str, tuple[str, str]]
    purposes: dict[str, _Purpose]


class _Table(Rule):
    """`table-e1-1.json`: the confidentiality table as generated."""

    format: Literal["curate-deid-table/1"]
    standard: str
    edition: str
    source: dict[str, str]
    options: Names
    rows: tuple[tuple[str, str, bool, bool, str, dict[str, str]], ...]


class _Reasons(Rule):
    """`reasons.yaml`: why each option is in force or is not; decides nothing."""

    format: Literal["curate-deid-reasons/1"]
    chosen: dict[str, str]
    not_chosen: dict[str, str]


def load_reasons(folder: Path | None = None) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return why each option that is in force is, and why each other one is not."""
    raw = {"reasons.yaml": read_policy_file((folder or shipped_policy()) / "reasons.yaml")}
    reasons = _read(_Reasons, "reasons.yaml", raw)
    return reasons.chosen, reasons.not_chosen


def load_policy(folder: Path | None = None) -> Policy:
    """Read a policy folder; that which comes with the program is read once.

    Parameters
    ----------
    folder
        Holds the five files of `POLICY_FILES`; None for the policy that comes with the program.

    Returns
    -------
    Policy
        Frozen; its digest covers every byte of the five files.

    Raises
    ------
    RulesError
        `rules-not-found` if a file is missing; `rules-invalid` naming every fault with its place.
    """
    return _shipped() if folder is None else _loaded(folder)


@cache
def _shipped() -> Policy:
    return _loaded(shipped_policy())


def _loaded(home: Path) -> Policy:
    raw = read_policy_files(home)
    settings = _read(_Settings, "policy.yaml", raw)
    allow = _read(_Allow, "allow.yaml", raw)
    words = _read(_Vocabularies, "vocabulary.yaml", raw)
    private = _read(_Private, "private.yaml", raw)
    table = _read(_Table, "table-e1-1.json", raw)
    rows = tuple(Row(tag, name, basic, options) for tag, name, _, _, basic, options in table.rows)
    listed = tuple(_checks(allow, words, private, settings))
    checks = dict(listed)
    _refuse(
        [
            *_faults(allow, [word for word, _ in listed], settings, table),
            *_vocabulary_faults(allow, private, words),
        ]
    )
    return Policy(
        purposes={uid: purpose for purpose in _purposes(settings, rows) for uid in purpose.classes},
        scopes=_scopes(allow, settings, private, checks),
        private=_safe_private(private, words),
        codes=_codes(words),
        scheme_synonyms=words.scheme_synonyms,
        unspecified=(words.unspecified.scheme, words.unspecified.value, words.unspecified.meaning),
        known_uids=frozenset(UID_dictionary) | frozenset(settings.standard_uids.values()),
        method_codes=settings.method_codes,
        shift_days=settings.shift_days,
        birth_date=settings.birth_date,
        issuer_counts=settings.issuer_counts,
        edition=table.edition,
        digest=policy_digest(raw),
        rows=rows,
        characteristics=frozenset(
            int(row.tag, 16) for row in rows if "retain_patient_characteristics" in row.options
        ),
    )


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise RulesError("rules-invalid", wanted="a valid policy", found="\n".join(faults[:50]))


def _read(model: type[T], name: str, raw: Mapping[str, bytes]) -> T:
    """Read one file strictly; the table, which a script writes, as JSON."""
    document = _plain_json(raw[name]) if name.endswith(".json") else read_plain(raw[name])
    value, faults = held_against(model, document, model_keys(model))
    _refuse([f"{name}: {fault}" for fault in (*document.faults, *faults)])
    if value is None:
        raise RulesError("rules-invalid", wanted="a valid policy", found=name)
    return value


def _plain_json(content: bytes) -> Document:
    try:
        return Document(json.loads(content))
    except ValueError:
        return Document(None, {}, (Fault((), "JSON", "something else"),))


def _checks(
    allow: _Allow, words: _Vocabularies, private: _Private, settings: _Settings
) -> Iterator[tuple[str, Check]]:
    """Yield each allowed keyword with the check it has to pass; a keyword in two kinds comes twice."""
    yield from ((word, deid.Number(low, high)) for word, (low, high) in allow.numbers.items())
    for word, of in (*allow.codes.items(), *allow.texts.items()):
        yield word, deid.Words(_vocabulary(of, words), allow.otherwise.get(word))
    yield from ((word, deid.Fixed(text)) for word, text in allow.fixed.items())
    yield from ((word, deid.Label(kind, _tag(number))) for word, (kind, number) in allow.labels.items())
    for word, items in allow.sequences.items():
        yield word, deid.Items(word, needs=frozenset(map(_tag, items.needs)))
    for word in allow.code_sequences:
        yield word, deid.Items(word, deid.Codes.REQUIRED if word in allow.code_required else deid.Codes.KNOWN)
    plain: tuple[tuple[Names, Check], ...] = (
        (allow.uids, deid.Uid()),
        (allow.known_uids, deid.KnownUid()),
        (allow.dates, deid.Day()),
        (allow.times, deid.Clock()),
        (allow.moments, deid.Moment()),
        (allow.emptied, deid.Empty()),
        (allow.birth_date, _BIRTH_DATE[settings.birth_date]),
        (allow.subject, deid.SubjectName()),
        (
            allow.pointers,
            deid.Pointer(frozenset({*keyword_dict.values(), *(int(t, 16) for t in private.pointers)})),
        ),
        (allow.tables, deid.Lut()),
        (allow.pixels, deid.Pixels()),
    )
    for keywords, check in plain:
        yield from ((word, check) for word in keywords)


_BIRTH_DATE: dict[str, Check] = {"emptied": deid.Empty(), "shifted": deid.Day(act=deid.Act.REPLACED)}
"""What is done to the birth date. The table's Z lets it be replaced by a dummy date, which the moved one is."""


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    return -1 if tag is None else int(tag)


def _vocabulary(of: str | Names, words: _Vocabularies) -> Vocabulary:
    """Return the vocabulary of that name, or the one that the listed values make."""
    if not isinstance(of, str):
        return Vocabulary(frozenset(value.casefold() for value in of))
    known = words.vocabularies.get(of, _Words())
    return Vocabulary(
        frozenset(value.casefold() for value in known.values),
        tuple(re.compile(pattern) for pattern in known.patterns),
        frozenset(word.casefold() for word in known.words),
    )


def _handling(keyword: str, checks: Mapping[str, Check], allow: _Allow) -> Handling:
    vrs = tuple(dictionary_VR(_tag(keyword)).split(" or "))
    otherwise = Otherwise.REFUSED if keyword in allow.needed else Otherwise.REMOVED
    return Handling(
        keyword, vrs, checks[keyword], Otherwise.EMPTIED if keyword in allow.or_empty else otherwise
    )


def _expanded(names: Names, allow: _Allow) -> Iterator[str]:
    """Yield the keywords that a list means: `+name` stands for a group, which may name other groups."""
    for name in names:
        if name.startswith("+"):
            yield from _expanded(allow.groups[name[1:]], allow)
        else:
            yield name


def _scope(names: Names, checks: Mapping[str, Check], allow: _Allow) -> Scope:
    return {_tag(keyword): _handling(keyword, checks, allow) for keyword in _expanded(names, allow)}


def _scopes(
    allow: _Allow, settings: _Settings, private: _Private, checks: Mapping[str, Check]
) -> dict[str, Scope]:
    """Return every level's allow-list: one a purpose, one a sequence, one a private sequence."""
    named: dict[str, Names] = {name: purpose.groups for name, purpose in settings.purposes.items()}
    named |= {keyword: items.holds for keyword, items in allow.sequences.items()}
    named |= {keyword: allow.code_holds.get(keyword, ()) for keyword in allow.code_sequences}
    for creator, elements in private.creators.items():
        named |= {_private_scope(creator, e): e.holds for e in elements if e.holds is not None}
    return {name: _scope(names, checks, allow) for name, names in named.items()}


def _private_scope(creator: str, element: _PrivateElement) -> str:
    return f"{creator} ({element.group},xx{element.offset})"


def _safe_private(private: _Private, words: _Vocabularies) -> dict[tuple[str, int, int], Handling]:
    return {
        (creator, int(element.group, 16), int(element.offset, 16)): Handling(
            element.name, element.vr, _private_check(creator, element, words)
        )
        for creator, elements in private.creators.items()
        for element in elements
    }


def _private_check(creator: str, element: _PrivateElement, words: _Vocabularies) -> Check:
    if element.number is not None and element.first_modulo is not None:
        return deid.FirstNumber(*element.number, element.first_modulo)
    if element.number is not None:
        return deid.Number(*element.number, act=deid.Act.CLEANED)
    if element.csa is not None:
        return deid.Csa(tuple(element.csa.items()))
    if element.holds is not None:
        return deid.Items(_private_scope(creator, element))
    return deid.Words(_vocabulary(element.code or (), words))


def _purposes(settings: _Settings, rows: Sequence[Row]) -> Iterator[Purpose]:
    classes = _classes(settings)
    for name, purpose in settings.purposes.items():
        options = (*settings.options, *purpose.options)
        uids = frozenset(classes[word] for word in purpose.classes)
        yield Purpose(name, uids, name, deid.gate(rows, frozenset(options)), options)


def _classes(settings: _Settings) -> dict[str, str]:
    """Return the UID of each SOP class by keyword."""
    known = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class"}
    return known | settings.standard_uids


def _codes(words: _Vocabularies) -> dict[tuple[str, str], str]:
    """Return the code dictionary: (scheme, value) -> meaning, from PS3.16 as pydicom knows it."""
    known = {
        (code.scheme_designator, code.value): code.meaning
        for scheme in code_dictionary.schemes()
        for code in getattr(code_dictionary, scheme).concepts.values()
    }
    for old, new in snomed_mapping["SRT"].items():
        if ("SCT", new) in known:
            known["SRT", old] = known["SCT", new]
    return known | {(code.scheme, code.value): code.meaning for code in words.codes}


def _faults(allow: _Allow, listed: Sequence[str], settings: _Settings, table: _Table) -> Iterator[str]:
    """Yield what the files say that cannot be: unknown keywords, kinds, groups, options."""
    yield from (f"allow.yaml: {word}: no DICOM keyword" for word in listed if _tag(word) < 0)
    yield from (f"allow.yaml: {word}: has two kinds" for word in set(listed) if listed.count(word) > 1)
    yield from (f"allow.yaml: $.needed: {word}: not allowed" for word in allow.needed if word not in listed)
    yield from (
        f"allow.yaml: $.or_empty: {word}: not allowed" for word in allow.or_empty if word not in listed
    )
    twice = set(allow.needed) & set(allow.or_empty)
    yield from (f"allow.yaml: {word}: both needed and or_empty" for word in sorted(twice))
    lists = [(f"allow.yaml: $.sequences.{word}", s.holds) for word, s in allow.sequences.items()]
    lists += [(f"allow.yaml: $.code_holds.{word}", holds) for word, holds in allow.code_holds.items()]
    lists += [(f"allow.yaml: $.groups.{name}", names) for name, names in allow.groups.items()]
    lists += [(f"policy.yaml: $.purposes.{name}", p.groups) for name, p in settings.purposes.items()]
    for place, names in lists:
        for name in names:
            if name.startswith("+") and name[1:] not in allow.groups:
                yield f"{place}: {name}: no such group"
            if not name.startswith("+") and name not in listed:
                yield f"{place}: {name}: no kind says how to check it"
    known = _classes(settings)
    for name, purpose in settings.purposes.items():
        wrong = [word for word in purpose.classes if word not in known]
        yield from (f"policy.yaml: $.purposes.{name}.classes: {word}: no SOP class" for word in wrong)
    if settings.shift_days[0] >= settings.shift_days[1]:
        yield "policy.yaml: $.shift_days: wanted least < most"
    chosen = {*settings.options, *(o for p in settings.purposes.values() for o in p.options)}
    yield from (f"policy.yaml: {o}: no option of the table" for o in sorted(chosen - set(table.options)))
    yield from (
        f"policy.yaml: $.method_codes: {o}: missing" for o in chosen if o not in settings.method_codes
    )


def _vocabulary_faults(allow: _Allow, private: _Private, words: _Vocabularies) -> Iterator[str]:
    named = [(f"allow.yaml: {word}", of) for word, of in (*allow.codes.items(), *allow.texts.items())]
    named += [
        (f"private.yaml: {e.name}", e.code) for group in private.creators.values() for e in group if e.code
    ]
    for place, of in named:
        if isinstance(of, str) and of not in words.vocabularies:
            yield f"{place}: {of}: no such vocabulary"
