"""dataset.json against the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.audit.claims import Manifest
from pipeline.audit.document import read_document
from pipeline.audit.report import Spot


def audit_dataset(content: bytes, manifest: Manifest, spot: Spot) -> None:
    """Compare texts, channels, classes and cases of dataset.json with the manifest."""
    if not content.isascii():
        spot.report("package", wanted="ASCII", found="other bytes")
    document = read_document(content, "dataset", spot, is_canonical=False)
    header, channels = manifest.header, manifest.channels
    names = {str(place): channel.name for place, channel in enumerate(channels)}
    spot.expect("package", "modality", wanted=list(names.items()), found=list(document["modality"].items()))
    classes = {str(value): name for value, name in enumerate(manifest.classes)}
    spot.expect("package", "labels", wanted=list(classes.items()), found=list(document["labels"].items()))
    size = "4D" if len(channels) > 1 else "3D"
    spot.expect("package", "tensorImageSize", wanted=size, found=document["tensorImageSize"])
    if "quantitative" in document:
        flags = [int(channel.quantity != "arbitrary") for channel in channels]
        spot.expect("package", "quantitative", wanted=flags, found=document["quantitative"])
    texts = header["rules"]["document"].get("header")
    for key in ("name", "description", "reference", "licence", "release"):
        wanted = texts.get(key) if isinstance(texts, dict) else None
        spot.expect("package", key, wanted=wanted, found=document[key])
    _check_lists(document, manifest, spot)


def _check_lists(document: Mapping[str, Any], manifest: Manifest, spot: Spot) -> None:
    """Report unless each case of the manifest is listed once, in its subset, under its own paths."""
    training, test = document["training"], document["test"]
    spot.expect("package", "numTraining", wanted=len(training), found=document["numTraining"])
    spot.expect("package", "numTest", wanted=len(test), found=document["numTest"])
    listed = sorted((pair["image"], pair["label"]) for pair in training)
    wanted = [
        (f"./imagesTr/{case}.nii.gz", f"./labelsTr/{case}.nii.gz") for case in manifest.members["training"]
    ]
    _expect_same(wanted, listed, "training", spot)
    _expect_same([f"./imagesTs/{case}.nii.gz" for case in manifest.members["test"]], test, "test", spot)


def _expect_same(wanted: Sequence[Any], listed: Sequence[Any], what: str, spot: Spot) -> None:
    lacking, surplus = Counter(wanted) - Counter(listed), Counter(listed) - Counter(wanted)
    if lacking:
        spot.report("package", wanted=f"every {what} case listed", found=f"none of {sorted(lacking)[:5]}")
    if surplus:
        spot.report("package", wanted=f"each {what} case once, as in the manifest", found=sorted(surplus)[:5])
