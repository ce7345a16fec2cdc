"""What is nobody's: the confidentiality table, the words that the policy publishes, the words of our own documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.sr._snomed_dict import mapping as snomed_mapping
from pydicom.sr.codedict import codes
from ruamel.yaml import YAML

from pipeline.model.names import ANNOTATION_NAMES

WORD = re.compile(r"[^\W_]+")
"""Letters and digits; every other character parts two words."""

MOST_DIGITS = 4
"""Digits that a text of known words may hold besides: fewer than a date or a patient number has."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of PS3.15 Table E.1-1: mask and value of the tags it is about, its action by option."""

    mask: int
    value: int
    basic: str
    options: Mapping[str, str]

    def action(self, options: frozenset[str]) -> str:
        """Return the action under the options; of several, the one that cleans."""
        chosen = {self.options[option] for option in options if option in self.options}
        return "C" if "C" in chosen else min(chosen, default=self.basic)


@dataclass(frozen=True, slots=True)
class Public:
    """What may be in a release though it is in a source.

    `rows` and `patterns` are the table's, `values`, `shapes` and `words` texts that belong to no person, `private`
    the safe private elements (creator, group, offset), `settings` the choices of policy.yaml.
    """

    rows: Mapping[int, Row]
    patterns: Sequence[Row]
    values: frozenset[str]
    shapes: Sequence[re.Pattern[str]]
    words: frozenset[str]
    private: frozenset[tuple[str, int, int]]
    settings: Mapping[str, Any]
    uids: frozenset[str]

    def row(self, tag: int) -> Row | None:
        """Return the table's row for a public tag."""
        found = self.rows.get(tag)
        return found or next((r for r in self.patterns if tag & r.mask == r.value), None)

    def options(self, sop_class: str) -> frozenset[str]:
        """Return the options that are in force for an object."""
        name = UID_dictionary[sop_class][4] if sop_class in UID_dictionary else ""
        own = [p["options"] for p in self.settings["purposes"].values() if name in p["classes"]]
        return frozenset([*self.settings["options"], *(option for options in own for option in options)])

    def holds(self, text: str) -> bool:
        """Whether a text is nobody's: listed whole, of a listed shape, or made of known words."""
        folded = text.casefold().strip()
        if folded in self.values or any(shape.fullmatch(text) for shape in self.shapes):
            return True
        words = WORD.findall(folded.replace("_", " "))
        digits = sum(letter.isdigit() for letter in folded)
        unknown = [word for word in words if word not in self.words and not word.isdigit()]
        return bool(words) and not unknown and digits <= MOST_DIGITS

    def saying(self, texts: Iterable[str]) -> Public:
        """Return the same with the words of texts that are published on purpose, such as the rules'."""
        return replace(self, words=self.words.union(*(words_of(text) for text in texts)))


def words_of(text: str) -> set[str]:
    """Return the words of a text, folded."""
    return set(WORD.findall(text.casefold().replace("_", " ")))


def _home(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / name
    return beside if beside.is_dir() else package / "_shipped" / name


@cache
def public() -> Public:
    """Return what the shipped policy and our own documents make public."""
    folder = _home("rules") / "deid"
    allow, private, words, settings = (
        YAML(typ="safe", pure=True).load((folder / f"{name}.yaml").read_text("utf-8"))
        for name in ("allow", "private", "vocabulary", "policy")
    )
    rows = [_row(tag, basic, options) for tag, _, _, _, basic, options in _table(folder)]
    vocabularies = words["vocabularies"].values()
    listed = [*_leaves(allow["codes"]), *_leaves([v.get("values", []) for v in vocabularies])]
    listed += [*_leaves(words["unspecified"]), *_leaves(allow["fixed"]), *_leaves(allow["otherwise"])]
    values = [*listed, *_leaves(words["codes"]), *_meanings(), *private["creators"]]
    values += [name for group in private["creators"].values() for e in group for name in e.get("csa", ())]
    # Codes of letters and digits are words as well: a text may hold one; a number could be anybody's.
    listed += [value for value in values if " " not in value and not value.isdigit() and not value.isalpha()]
    known = [
        *listed,
        *(entry[2] for entry in DicomDictionary.values()),
        *_leaves([v.get("words", []) for v in vocabularies]),
        *_own_documents(),
    ]
    return Public(
        rows={row.value: row for row in rows if row.mask == 0xFFFFFFFF},
        patterns=[row for row in rows if row.mask != 0xFFFFFFFF],
        values=frozenset(value.casefold().strip() for value in values),
        shapes=[*(re.compile(p) for v in vocabularies for p in v.get("patterns", [])), *ANNOTATION_NAMES],
        words=frozenset().union(*(words_of(text) for text in known)),
        private=frozenset(_safe_private(private)),
        settings=settings,
        uids=frozenset(UID_dictionary) | frozenset(settings["standard_uids"].values()),
    )


def _table(folder: Path) -> list[Any]:
    rows: list[Any] = json.loads((folder / "table-e1-1.json").read_bytes())["rows"]
    return rows


def _row(tag: str, basic: str, options: Mapping[str, str]) -> Row:
    if tag == "PRIVATE":
        return Row(0x00010000, 0x00010000, basic, options)
    mask = int("".join("0" if digit == "x" else "f" for digit in tag), 16)
    return Row(mask, int(tag.replace("x", "0"), 16), basic, options)


def _leaves(tree: Any) -> Iterator[str]:
    """Yield every text in a tree of lists and mappings."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _leaves(branch)
    else:
        yield str(tree)


def _meanings() -> Iterator[str]:
    """Yield the meanings and values of the standard's own codes (PS3.16)."""
    for scheme in codes.schemes():
        for code in getattr(codes, scheme).concepts.values():
            yield from (code.meaning, code.meaning[:64], code.value)
    # SNOMED RT, as many scanners still write it.
    yield from snomed_mapping["SRT"]


def _safe_private(private: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for creator, elements in private["creators"].items():
        for element in elements:
            yield creator, int(element["group"], 16), int(str(element["offset"]), 16)


def _own_documents() -> Iterator[str]:
    """Yield what our manifests say of the phantom's cases, and their schemas: words of ours, and of no person."""
    home = _home("manifests")
    for path in sorted((home / "schema").glob("*.json")):
        yield path.read_text("utf-8")
    for path in sorted((home / "golden").glob("*.manifest.jsonl")):
        # The first line holds the rules, whose words count where they are a release's own.
        yield from path.read_text("utf-8").splitlines()[1:]
