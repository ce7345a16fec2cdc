"""Say in words what de-identification does."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.model import deid
from pipeline.model.deid import Handling, Policy

_CHECKS: tuple[tuple[type, str], ...] = (
    (deid.Number, "numbers that parse and lie in their range"),
    (deid.FirstNumber, "numbers of which the first alone stays"),
    (deid.Words, "texts and codes from a controlled vocabulary"),
    (deid.Uid, "UIDs, replaced by keyed ones"),
    (deid.KnownUid, "UIDs of the standard itself"),
    (deid.Day, "dates, moved"),
    (deid.Clock, "times of day"),
    (deid.Moment, "dates with times, moved"),
    (deid.Empty, "elements that stay without a value"),
    (deid.Fixed, "elements whose value becomes a constant"),
    (deid.SubjectName, "name and ID, replaced by the pseudonym"),
    (deid.Pointer, "tags as values"),
    (deid.Label, "names of contours and segments, kept when the label mapping knows them"),
    (deid.Items, "sequences, cleaned item by item"),
    (deid.Csa, "Siemens' CSA header, written again with its layout alone"),
    (deid.Pixels, "pixels, cut to their exact length"),
    (deid.Lut, "look-up tables that rise or fall throughout"),
)


def describe(policy: Policy, chosen: Mapping[str, str], not_chosen: Mapping[str, str]) -> str:
    """Return what the policy lets pass, which options are in force and why, as text for people."""
    least, most = policy.shift_days
    parts = [
        "De-identification",
        _wrapped(
            f"An element passes only if two gates let it: the allow-list for its kind of object, and DICOM PS3.15 "
            f"Table E.1-1, edition {policy.edition}, with its {len(policy.rows)} rows. What neither knows is gone, "
            f"at any depth. Policy {policy.digest[:23]}."
        ),
        "Options in force",
        *_reasons(policy, chosen),
        "Options not in force",
        *(_wrapped(f"- {_words(name)}: {why}") for name, why in sorted(not_chosen.items())),
        "Pseudonyms",
        _wrapped(
            "HMAC-SHA-256 under the workspace's key gives subject, UIDs and days, the same in any process and order. "
            f"Dates of a subject move back by one number of {least} to {most} days; "
            f"the birth date is {policy.birth_date}."
        ),
        "What may stand in each kind of object",
        *_objects(policy),
        "Private elements that stay, each checked by value",
        *_private(policy.private),
    ]
    return "\n".join(parts)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, subsequent_indent="  ", initial_indent="  ")


def _words(option: str) -> str:
    return option.replace("_", " ")


def _reasons(policy: Policy, chosen: Mapping[str, str]) -> Sequence[str]:
    lines = []
    for option, why in chosen.items():
        code, meaning = policy.method_codes[option]
        kinds = sorted({p.name for p in policy.purposes.values() if option in ("basic", *p.options)})
        lines.append(_wrapped(f"- {meaning} (DCM {code}), for {', '.join(kinds)}: {why}"))
    return lines


def _objects(policy: Policy) -> Sequence[str]:
    lines = []
    for purpose in {p.name: p for p in policy.purposes.values()}.values():
        counts = Counter(_check(handling) for handling in policy.scopes[purpose.scope].values())
        said = "; ".join(f"{count} {what}" for what, count in counts.most_common())
        lines.append(_wrapped(f"- {purpose.name}: {said}."))
    return lines


def _check(handling: Handling) -> str:
    return next(words for kind, words in _CHECKS if isinstance(handling.check, kind))


def _private(private: Mapping[tuple[str, int, int], Handling]) -> Sequence[str]:
    by_creator: dict[str, list[str]] = {}
    for (creator, group, offset), handling in private.items():
        by_creator.setdefault(creator, []).append(f"({group:04x},xx{offset:02x}) {handling.keyword}")
    return [_wrapped(f"- {creator}: {', '.join(names)}.") for creator, names in by_creator.items()]
