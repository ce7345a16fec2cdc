"""One NIfTI member of a TAR against the line that explains it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.audit.claims import Claim, Manifest
from pipeline.audit.digesting import Digest, Digester
from pipeline.audit.geometry import check_affine, matrix_text
from pipeline.audit.inflate import inflated
from pipeline.audit.nifti import VOXEL_OFFSET, NiftiHeader, read_header
from pipeline.audit.report import Spot, failure
from pipeline.audit.voxels import audit_image, audit_label


@dataclass(frozen=True, slots=True)
class Member:
    """What the manifest wants of one TAR member; `claim` is None for dataset.json."""

    size: int
    digest: str
    case: str
    claim: Claim | None


@dataclass(slots=True)
class Walk:
    """What a walk through a TAR has seen of the members it wants."""

    manifest: Manifest
    wanted: dict[str, Member]
    digester: Digester
    seen: set[str] = field(default_factory=set)
    last: str = ""
    headers: dict[str, NiftiHeader] = field(default_factory=dict)
    voxels: dict[str, str] = field(default_factory=dict)


def audit_nifti(pieces: Iterator[bytes], claim: Claim, walk: Walk, spot: Spot) -> None:
    """Compare gzip, header and voxels of one member with its claim, and with the image on whose grid it lies."""
    content = inflated(pieces, spot)
    begin = b""
    while len(begin) < VOXEL_OFFSET:
        piece = next(content, b"")
        if not piece:
            raise failure("a NIfTI-1 header of 348 bytes and 4 more", f"{len(begin)} bytes")
        begin += piece
    header = read_header(begin[:VOXEL_OFFSET], spot)
    _check_against_claim(header, claim, spot)
    if claim.kind == "image":
        walk.headers[claim.case] = header
    elif claim.case in walk.headers:
        _check_same_grid(header, walk.headers[claim.case], spot)
    digest = walk.digester.digest()
    voxels = _hashing(itertools.chain([begin[VOXEL_OFFSET:]], content), digest)
    if claim.kind == "image":
        audit_image(voxels, header, claim, walk.manifest.channels, spot)
    else:
        audit_label(voxels, header, claim, walk.manifest.classes, spot)
    _check_voxels(digest.hexdigest(), claim, walk, spot)


def _hashing(blocks: Iterable[bytes], digest: Digest) -> Iterator[bytes]:
    """Yield the blocks, and hash each that is asked for."""
    for block in blocks:
        digest.update(block)
        yield block


def _check_voxels(digest: str, claim: Claim, walk: Walk, spot: Spot) -> None:
    if claim.kind == "image":
        if digest in walk.voxels:
            spot.report("package", wanted="voxels of its own", found=f"those of {walk.voxels[digest]}")
        walk.voxels.setdefault(digest, claim.member)
    spot.expect(
        "package", "the voxels' digest in the manifest,", wanted=claim.voxels, found=f"sha256:{digest}"
    )


def _check_against_claim(header: NiftiHeader, claim: Claim, spot: Spot) -> None:
    spot.expect("package", "the manifest's shape,", wanted=claim.shape, found=header.shape)
    spot.expect("package", "the manifest's dtype,", wanted=claim.dtype, found=header.dtype)
    # The file holds float32: the claim must be the same number in it.
    if not np.array_equal(claim.affine.astype(np.float32), header.sform.astype(np.float32)):
        spot.report(
            "orient",
            wanted=f"the manifest's affine, {matrix_text(claim.affine)}",
            found=matrix_text(header.sform),
        )
    if np.isfinite(header.sform).all():
        check_affine(header.sform, spot)


def _check_same_grid(label: NiftiHeader, image: NiftiHeader, spot: Spot) -> None:
    spot.expect("label", "the image's shape,", wanted=image.shape[:3], found=label.shape)
    if not np.array_equal(label.sform, image.sform):
        spot.report(
            "label", wanted=f"the image's affine, {matrix_text(image.sform)}", found=matrix_text(label.sform)
        )
