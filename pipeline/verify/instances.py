"""One de-identified DICOM file held against the file it was made from: the table again, pseudonyms, dates, marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.verify.elements import PIXEL_DATA, Element, Instance, read_instance
from pipeline.verify.harvest import origin_of
from pipeline.verify.pseudonyms import Pseudonyms
from pipeline.verify.public import Public

IMPLEMENTATION = "2.25.246230489341786029417713095172386154271"
"""The UID by which this program names itself in file meta information."""

_PATIENT_NAME, _PATIENT_ID, _ISSUER = 0x00100010, 0x00100020, 0x00100021
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_META_CLASS, _META_INSTANCE, _META_IMPLEMENTATION = 0x00020002, 0x00020003, 0x00020012
_REMOVED, _METHOD, _CODES, _MODIFIED = 0x00120062, 0x00120063, 0x00120064, 0x00280303
_BURNED_IN, _CODE_VALUE, _CODE_SCHEME = 0x00280301, 0x00080100, 0x00080102

_CLOCK = re.compile(rb"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
_NEVER = (0x0000, 0x0004, 0x5000, 0x6000)
"""Groups that no released object has: commands, directories, curves, overlays."""

_TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "UN", "OB", "PN"})

Fault = tuple[str, str]
"""Where, by keyword; and what does not hold there."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A source instance and what was made of it, with its subject's pseudonym and the options in force."""

    before: Instance
    after: Instance
    subject: str
    options: frozenset[str]


def pair_of(before: Instance, after: Instance, keys: Pseudonyms, public: Public) -> Pair:
    """Return both, with what both are judged by."""
    issuer = before.text(_ISSUER) if public.settings["issuer_counts"] else ""
    sop_class = before.text(_SOP_CLASS) or before.text(_META_CLASS)
    return Pair(before, after, keys.subject(before.text(_PATIENT_ID), issuer), public.options(sop_class))


def instance_uid(instance: Instance) -> str:
    """Return the instance's UID, from the file meta information where the dataset says none."""
    return instance.text(_SOP_INSTANCE) or instance.text(_META_INSTANCE)


def faults(pair: Pair, keys: Pseudonyms, public: Public) -> Iterator[Fault]:
    """Yield everything by which the released file tells more than it may, or is not marked as it must be."""
    if any(pair.after.preamble):
        yield "preamble", "it is not empty"
    yield from _pseudonym_faults(pair, keys, public)
    yield from _kept_faults(pair, public)
    yield from _mark_faults(pair, public)


def _pseudonym_faults(pair: Pair, keys: Pseudonyms, public: Public) -> Iterator[Fault]:
    name = keys.name(pair.subject)
    for tag in (_PATIENT_NAME, _PATIENT_ID):
        if pair.after.texts(tag) != [name]:
            yield origin_of(Element((tag,), "PN", b"")), "another value than the subject's pseudonym"
    wanted = keys.uid(instance_uid(pair.before))
    if not pair.after.text(_SOP_INSTANCE) == pair.after.text(_META_INSTANCE) == wanted:
        yield "SOPInstanceUID", "another UID than the keyed one"
    derived = _derived_uids(pair.before, keys)
    dates = _derived_dates(pair, keys)
    for element in pair.after.elements:
        if element.vr == "UI":
            own = {IMPLEMENTATION} if element.tag == _META_IMPLEMENTATION else frozenset[str]()
            for uid in element.value.decode("latin-1").split("\\"):
                if (plain := uid.strip(" \0")) and plain not in public.uids | own and plain not in derived:
                    yield origin_of(element), "a UID that the key does not give"
        elif element.vr in ("DA", "DT") and element.value.strip(b" \0"):
            is_moved = _days(element.value) == dates.get(element.path, ()) or _is_one_of(element, dates)
            if not is_moved:
                yield origin_of(element), "a date that is not moved by the subject's days"


def _derived_uids(before: Instance, keys: Pseudonyms) -> set[str]:
    values = {e.value for e in before.elements if e.vr == "UI"}
    return {
        keys.uid(uid.strip(" \0")) for value in values for uid in value.decode("latin-1").split("\\") if uid
    }


_Dates = dict[tuple[int, ...], tuple[str, ...]]


def _derived_dates(pair: Pair, keys: Pseudonyms) -> _Dates:
    """Return each date element's days as they must be; of several items with one path, the last."""
    return {
        e.path: tuple(keys.moved(day, pair.subject) if day else "" for day in _days(e.value))
        for e in pair.before.elements
        if e.vr in ("DA", "DT") and e.value
    }


def _days(value: bytes) -> tuple[str, ...]:
    return tuple(part.strip(" \0")[:8] for part in value.decode("latin-1").split("\\"))


def _is_one_of(element: Element, dates: _Dates) -> bool:
    """Whether a date below a sequence is another item's."""
    known = {day for days in dates.values() for day in days}
    return len(element.path) > 1 and known.issuperset(_days(element.value))


def _kept_faults(pair: Pair, public: Public) -> Iterator[Fault]:
    before: dict[tuple[int, ...], set[bytes]] = {}
    for element in pair.before.elements:
        if element.tag != PIXEL_DATA:
            before.setdefault(element.path, set()).add(element.value.strip(b" \0"))
    for element in pair.after.elements:
        tag = element.tag
        value = b"" if tag == PIXEL_DATA else element.value.strip(b" \0")
        if tag & 0x10000:
            if (fault := _private_fault(element, public)) is not None:
                yield origin_of(element), fault
        elif tag >> 16 in _NEVER or tag >> 24 in (0x50, 0x60):
            yield origin_of(element), "an element that no released object has"
        elif value and value in before.get(element.path, ()) and not _may_stay(element, value, pair, public):
            yield origin_of(element), "the source's own value"
        elif element.vr == "SQ" and _is_forbidden(element, pair, public):
            yield origin_of(element), "a sequence that the table removes"


def _private_fault(element: Element, public: Public) -> str | None:
    """Say what is wrong with a private element: only those that the policy names may stand, and their creators."""
    if any(tag & 0x10000 for tag in element.path[:-1]):
        return None
    number = element.tag & 0xFFFF
    if number < 0x100:
        creator = element.value.decode("latin-1").strip(" \0")
        is_known = any(creator == known for known, _, _ in public.private)
        return None if is_known else "a private creator that is not listed"
    place = (element.creator, element.tag >> 16, number & 0xFF)
    return None if place in public.private else "a private element that is not listed"


def _may_stay(element: Element, value: bytes, pair: Pair, public: Public) -> bool:
    """Whether a source's own value may stand in the released file, by the table or because it is nobody's."""
    row = public.row(element.tag)
    if row is None or element.tag >> 16 == 0x0002:
        # What the table does not list is searched for by its value.
        return True
    actions = row.action(pair.options).split("/")
    if "K" in actions and element.vr in ("DS", "CS", "AS"):
        return True
    if element.vr == "TM" and "C" in actions:
        return all(_CLOCK.fullmatch(part.strip(b" ")) for part in value.split(b"\\"))
    if element.vr == "UI":
        return all(part.strip("\0 ") in public.uids for part in value.decode("latin-1").split("\\"))
    if element.vr in _TEXTS and value.isascii():
        return all(public.holds(part.strip()) for part in value.decode("ascii").split("\\") if part.strip())
    return "C" in actions and element.vr not in _TEXTS and element.vr not in ("DA", "DT")


def _is_forbidden(element: Element, pair: Pair, public: Public) -> bool:
    row = public.row(element.tag)
    return row is not None and row.action(pair.options) == "X"


def _mark_faults(pair: Pair, public: Public) -> Iterator[Fault]:
    after = pair.after
    if after.text(_REMOVED) != "YES":
        yield "PatientIdentityRemoved", "no YES"
    if not after.text(_METHOD):
        yield "DeidentificationMethod", "none"
    if (
        any(e.vr in ("DA", "DT") and e.value.strip() for e in after.elements)
        and after.text(_MODIFIED) != "MODIFIED"
    ):
        yield "LongitudinalTemporalInformationModified", "no MODIFIED"
    if after.text(_BURNED_IN) not in ("", "NO"):
        yield "BurnedInAnnotation", "text in the pixels"
    said = _method_codes(after)
    wanted = _wanted_codes(pair, public.settings["method_codes"])
    if said != wanted:
        yield "DeidentificationMethodCodeSequence", "other codes than what was done"


def _method_codes(after: Instance) -> set[str]:
    return {e.value.decode("latin-1").strip(" \0") for e in after.elements if e.path == (_CODES, _CODE_VALUE)}


def _wanted_codes(pair: Pair, known: Mapping[str, tuple[str, str]]) -> set[str]:
    """Return the codes of CID 7050 that tell what was done: the profile, and each option that let something stay."""
    done = {"basic", *pair.options}
    if not any(e.tag & 0x10000 for e in pair.after.elements):
        done.discard("retain_safe_private")
    characteristics = any(
        e.value.strip(b" \0") for e in pair.after.elements if e.path in _CHARACTERISTICS and e.vr != "PN"
    )
    if not characteristics:
        done.discard("retain_patient_characteristics")
    return {known[option][0] for option in done if option in known}


_CHARACTERISTICS = {(0x00100040,), (0x00101020,), (0x00101030,)}
"""Sex, size and weight: the patient characteristics that may stay."""


def searched_texts(instance: Instance) -> set[bytes]:
    """Return what of a released file may hold weak words: its texts, without numbers, dates, times and UIDs."""
    return {e.value for e in instance.elements if e.vr in _TEXTS and e.tag != PIXEL_DATA}


def searched_bytes(content: bytes, pixels: tuple[int, int]) -> tuple[bytes, bytes | memoryview]:
    """Return a released file's bytes as text and as voxels; what stands between elements is text.

    Of a deflated dataset (PS3.5 A.5) the elements are searched beside the file as it stands.
    """
    begin, end = pixels
    if end:
        return content[:begin] + content[end:], memoryview(content)[begin:end]
    elements = read_instance(content).elements
    voxels = b"".join(e.value for e in elements if e.tag == PIXEL_DATA)
    return content + b"\n".join(e.value for e in elements if e.tag != PIXEL_DATA), voxels
