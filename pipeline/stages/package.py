"""Turn a task's finished cases into dataset.json, a member list and manifest lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.model.plan import TRAINING
from pipeline.model.record import Json, Refusal
from pipeline.model.rules import PublishedSplit, TaskRules

_LABEL_ROOMS = ("annotation", "rasterise", "label")


@dataclass(frozen=True, slots=True)
class Package:
    """What goes into one task's TAR and manifest.

    `members` maps a member's name to (store entry, file name in it); `withheld` does so for the labels of
    test cases; `lines` are the manifest's case and refusal lines; `missing` the published ids not released.
    """

    dataset: bytes
    members: Mapping[str, tuple[str, str]]
    withheld: Mapping[str, tuple[str, str]]
    lines: Sequence[Mapping[str, Json]]
    missing: Sequence[str]


def package(
    rules: TaskRules,
    records: Mapping[str, Mapping[str, Any]],
    refusals: Sequence[Refusal],
    published: PublishedSplit | None,
) -> Package:
    """Lay out a task's release.

    Parameters
    ----------
    records
        Store entry -> record.json of each finished case, with what its reviewer said under `review`.
    refusals
        Cases that were not made.
    published
        The ids of the published task, if there is one.
    """
    task = rules.task
    ordered = sorted(records.items(), key=lambda item: _number(item[1]["case"]))
    members: dict[str, tuple[str, str]] = {}
    withheld: dict[str, tuple[str, str]] = {}
    lines: list[Mapping[str, Json]] = []
    for entry, record in ordered:
        image, label = _names(task, record)
        members[image] = (entry, "image.nii.gz")
        if label is not None:
            members[label] = (entry, "label.nii.gz")
        elif record["label"] is not None:
            withheld[f"{task}/labelsTs/{record['case']}.nii.gz"] = (entry, "label.nii.gz")
        lines.append(_case_line(record, image, label))
    lines.sort(key=lambda line: str(line["case"]))
    lines += [{"kind": "refusal", **refusal.to_json()} for refusal in sorted(refusals, key=lambda r: r.case)]
    missing = _missing(published, {record["case"] for record in records.values()})
    dataset = _dataset(rules, [record for _, record in ordered])
    return Package(dataset, members, withheld, lines, missing)


def _number(case: str) -> int:
    return int(case.rpartition("_")[2])


def _names(task: str, record: Mapping[str, Any]) -> tuple[str, str | None]:
    case = record["case"]
    if record["subset"] == TRAINING:
        return f"{task}/imagesTr/{case}.nii.gz", f"{task}/labelsTr/{case}.nii.gz"
    return f"{task}/imagesTs/{case}.nii.gz", None


def _case_line(record: Mapping[str, Any], image: str, label: str | None) -> Mapping[str, Json]:
    """Return the public line: a test case's line says nothing of its label, which is withheld."""
    line = {"kind": "case", **record, "members": {"image": image, "label": label}}
    if label is None:
        line["label"] = None
        public = [
            n for n in record["notes"] if n["stage"] not in _LABEL_ROOMS and n.get("channel") != "label"
        ]
        line["notes"] = [{name: fact for name, fact in note.items() if name != "label"} for note in public]
        line["sources"] = {name: refs for name, refs in record["sources"].items() if name != "label"}
        if "seen" in record.get("review", {}):
            line["review"] = {**record["review"], "seen": {**record["review"]["seen"], "label": None}}
    return line


def _missing(published: PublishedSplit | None, cases: set[str]) -> list[str]:
    if published is None:
        return []
    return sorted({*published.training, *published.test} - cases, key=_number)


def _dataset(rules: TaskRules, records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return dataset.json, ASCII, with the keys of the published files; every count is counted."""
    case = [record["case"] for record in records if record["subset"] == TRAINING]
    test = [record["case"] for record in records if record["subset"] != TRAINING]
    header = rules.header
    document: dict[str, Any] = {
        "name": header.name,
        "description": header.description,
        "reference": header.reference,
        "licence": header.licence,
        "release": header.release,
        "tensorImageSize": "4D" if len(rules.channels) > 1 else "3D",
    }
    if header.quantitative:
        document["quantitative"] = [int(channel.quantity.is_quantitative) for channel in rules.channels]
    document |= {
        "modality": {str(place): channel.name for place, channel in enumerate(rules.channels)},
        "labels": {"0": "background"} | {str(c.value): c.name for c in rules.label.classes},
        "numTraining": len(case),
        "numTest": len(test),
        "training": [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in case],
        "test": [f"./imagesTs/{c}.nii.gz" for c in test],
    }
    return json.dumps(document, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
