"""A manifest: each line by itself, then all of them together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audit.claims import Channel, Claim, Manifest, channel_faults
from pipeline.audit.document import canonical, kind_of, parsed, parts_of, read_document
from pipeline.audit.files import lines_of, opened
from pipeline.audit.geometry import check_affine, matrix_text
from pipeline.audit.merkle import merkle_root
from pipeline.audit.notes import check_notes
from pipeline.audit.report import Spot, failure, reporting
from pipeline.audit.review import check_review


def read_manifest(
    manifest: Manifest, entry: Mapping[str, Any], files: Mapping[str, Path], spot: Spot
) -> None:
    """Read every line of a manifest, and compare its digest, length and Merkle root with release.json."""
    digest, leaves = hashlib.sha256(), []
    with opened(files, spot.file) as stream:
        for number, line in enumerate(lines_of(stream), 1):
            digest.update(line)
            leaves.append(hashlib.sha256(b"\x00" + line.removesuffix(b"\n")).digest())
            here = spot.at(f"line {number}")
            if not line.endswith(b"\n"):
                here.report("release", wanted="a newline at the end", found="none")
            with reporting(here, "release"):
                _read_line(manifest, number, line.removesuffix(b"\n"), here)
    spot.run.digests[spot.file] = digest.hexdigest()
    spot.expect(
        "release", "the digest in release.json,", wanted=entry["digest"], found=f"sha256:{digest.hexdigest()}"
    )
    spot.expect("release", "the number of lines in release.json,", wanted=entry["lines"], found=len(leaves))
    spot.expect(
        "release", "the Merkle root in release.json,", wanted=entry["merkle_root"], found=merkle_root(leaves)
    )


def _read_line(manifest: Manifest, number: int, content: bytes, spot: Spot) -> None:
    document = parsed(content)
    kind = kind_of(document)
    if (kind == "header") != (number == 1) or kind not in ("header", "case", "refusal"):
        raise failure(
            "a header in the first line, then cases, then refusals", f"kind {kind} in line {number}"
        )
    with reporting(spot.at(spot.member, str(document.get("case", ""))), "release"):
        _take(manifest, read_document(content, f"manifest-{kind}", spot), spot)


def _take(manifest: Manifest, line: dict[str, Any], spot: Spot) -> None:
    """Take over what a line of one of the three kinds says."""
    kind = line["kind"]
    spot.expect("release", "the task", wanted=manifest.task, found=line["task"])
    if kind == "header":
        manifest.channels = tuple(Channel.of(channel) for channel in line["channels"])
        manifest.header = line
    elif kind == "refusal":
        manifest.refused.append(line["case"])
    elif not manifest.header:
        raise failure("a header before the case", "none that can be read")
    else:
        _read_case(manifest, line, spot.at(spot.member, line["case"]))


def _read_case(manifest: Manifest, line: Mapping[str, Any], spot: Spot) -> None:
    """Take over what a case line claims, after what the line alone can tell."""
    case, subset = line["case"], line["subset"]
    if manifest.refused:
        spot.report("release", wanted="cases before refusals", found="a case after one")
    if manifest.cases and case <= manifest.cases[-1]:
        spot.report("release", wanted=f"a case id after {manifest.cases[-1]}", found=case)
    manifest.cases.append(case)
    manifest.members[subset].append(case)
    manifest.subjects[subset].add(line["subject"])
    claims = [Claim.of(line, kind) for kind in ("image", "label") if line[kind] is not None]
    manifest.claims.update({claim.member: claim for claim in claims})
    _check_parts(line, spot)
    _check_image_claim(claims[0], manifest, spot)
    if len(claims) > 1:
        _check_label_claim(claims[1], claims[0], manifest, spot)
    check_notes(line, manifest, spot)
    check_review(line, manifest.header, spot)


def _check_parts(line: Mapping[str, Any], spot: Spot) -> None:
    """Report unless a training case has image and label and a test case an image, under their own names."""
    task, case = line["task"], line["case"]
    is_training = line["subset"] == "training"
    folder = "imagesTr" if is_training else "imagesTs"
    label = f"{task}/labelsTr/{case}.nii.gz" if is_training else None
    spot.expect(
        "package", "the image", wanted=f"{task}/{folder}/{case}.nii.gz", found=line["members"]["image"]
    )
    spot.expect("package", "the label", wanted=label, found=line["members"]["label"])
    if is_training != (line["label"] is not None):
        spot.report(
            "label", wanted="a label in training and none in test", found=f"the opposite in {line['subset']}"
        )


def _check_image_claim(claim: Claim, manifest: Manifest, spot: Spot) -> None:
    channels = manifest.channels
    wanted = (len(channels),) if len(channels) > 1 else ()
    spot.expect("package", "a fourth axis of", wanted=wanted, found=claim.shape[3:])
    if any(channel.percentiles for channel in channels):
        spot.expect("scale", "the dtype of a scaled image,", wanted="float32", found=claim.dtype)
    check_affine(claim.affine, spot)


def _check_label_claim(claim: Claim, image: Claim, manifest: Manifest, spot: Spot) -> None:
    spot.expect("label", "the image's shape", wanted=image.shape[:3], found=claim.shape)
    if not np.array_equal(claim.affine, image.affine):
        spot.report("label", wanted="the image's affine", found=f"another: {matrix_text(claim.affine)}")
    names = manifest.classes
    wanted = "uint8" if len(names) <= 256 else "uint16"
    spot.expect("label", "the dtype", wanted=wanted, found=claim.dtype)
    for value, part in claim.classes.items():
        declared = names[int(value)] if int(value) < len(names) else "no such class"
        spot.expect("label", f"class {value} to be", wanted=declared, found=part["name"])
        if not _is_volume_of(part["ml"], part["voxels"] * claim.voxel_ml):
            millilitres = f"{part['voxels'] * claim.voxel_ml:.6g}"
            spot.report("label", wanted=f"{millilitres} ml in class {value}", found=f"{part['ml']} ml")
    for value in _required_classes(manifest.header["rules"]["document"]):
        if not claim.classes.get(value, {}).get("voxels"):
            spot.report("label", wanted=f"voxels of class {value}, which the rules require", found="none")


def _required_classes(rules: Mapping[str, Any]) -> list[str]:
    classes = parts_of(rules.get("label"), "classes")
    return [str(part.get("value")) for part in classes if part.get("required") is True]


def _is_volume_of(text: str, millilitres: float) -> bool:
    """Whether a decimal text is a volume in ml, rounded to the digits it shows."""
    # A float32 affine changes a volume by 1e-7 of itself.
    tolerance = 1e-5 * abs(millilitres)
    if "." in text and "e" not in text:
        tolerance = max(tolerance, 0.5 * 10.0 ** -len(text.partition(".")[2]))
    return abs(float(text) - millilitres) <= tolerance


def check_manifest(manifest: Manifest, entry: Mapping[str, Any], spot: Spot) -> None:
    """Check what all lines together can tell."""
    header = manifest.header
    _check_counts(manifest, entry, spot)
    here = spot.at("line 1")
    here.expect("package", "the TAR", wanted=f"{manifest.task}.tar", found=header["tar"])
    here.expect(
        "package",
        "the dataset member",
        wanted=f"{manifest.task}/dataset.json",
        found=header["dataset"]["member"],
    )
    digest = hashlib.sha256(canonical(header["rules"]["document"])).hexdigest()
    here.expect(
        "release",
        "the digest of the rules document,",
        wanted=f"sha256:{digest}",
        found=header["rules"]["digest"],
    )
    _check_rules(manifest, here)
    if manifest.refused != sorted(manifest.refused):
        spot.report("release", wanted="refusals sorted by case", found="another order")
    for case in sorted(set(manifest.refused) & set(manifest.cases)):
        spot.at("", case).report(
            "package", wanted="no image of a refused case", found="a case line beside the refusal"
        )
    for subject in sorted(manifest.subjects["training"] & manifest.subjects["test"]):
        spot.report("split", wanted="each subject in one subset", found=f"{subject} in both")


def _check_counts(manifest: Manifest, entry: Mapping[str, Any], spot: Spot) -> None:
    counts, missing = manifest.header["counts"], manifest.header["missing"]
    counted = {
        "training": len(manifest.members["training"]),
        "test": len(manifest.members["test"]),
        "refused": len(manifest.refused),
        "missing": len(missing),
    }
    spot.at("line 1").expect(
        "release", "the counts", wanted=counted, found={name: counts[name] for name in counted}
    )
    told = {name: entry[name] for name in ("training", "test", "refused")}
    wanted = {name: counted[name] for name in told}
    Spot(spot.run, "release.json", manifest.task).expect("release", "the counts", wanted=wanted, found=told)
    if len(set(missing)) != len(missing) or set(missing) & set(manifest.cases):
        spot.at("line 1").report(
            "release", wanted="missing ids once, and none that is there", found="another list"
        )


def _check_rules(manifest: Manifest, spot: Spot) -> None:
    """Compare the header with the rules document that it carries."""
    header, rules = manifest.header, manifest.header["rules"]["document"]
    spot.expect("release", "rules of the task", wanted=manifest.task, found=rules.get("task"))
    told = [Channel.of(part) for part in parts_of(rules, "channels") if not any(channel_faults(part))]
    spot.expect("scale", "the channels of the rules,", wanted=told, found=list(manifest.channels))
    names = ["background", *(part.get("name") for part in parts_of(rules.get("label"), "classes"))]
    spot.expect("label", "the classes of the rules,", wanted=names, found=manifest.classes)
    values = [str(value) for value in range(len(header["classes"]))]
    spot.expect("label", "the class values", wanted=values, found=sorted(header["classes"], key=int))
    pattern = _id_pattern(rules.get("cases"))
    for case in (*manifest.cases, *header["missing"]):
        if not pattern.fullmatch(case):
            spot.at(spot.member, case).report("split", wanted="an id as the rules form them", found=case)


def _id_pattern(cases: Any) -> re.Pattern[str]:
    """Return what matches ids such as BRATS_{:03d} makes."""
    form = cases.get("id") if isinstance(cases, dict) else None
    parts = re.fullmatch(r"([A-Za-z]+_)\{:(?:0([1-9]))?d\}", form) if isinstance(form, str) else None
    if parts is None:
        return re.compile(r"[A-Za-z]+_[0-9]+")
    width = int(parts[2] or 1)
    return re.compile(rf"{parts[1]}([0-9]{{{width}}}|[1-9][0-9]{{{width},}})")
