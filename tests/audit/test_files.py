"""A file too many, too few, or other than SHA256SUMS says is found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_release import SPLEEN, dataset_bytes, sample, tar_of
from spoiling import IMAGE, SPLEEN_LINES, SPLEEN_TAR, cut, replace_text, shown, sought

from pipeline.audit import audit
from pipeline.model.errors import UsageError


def test_a_flipped_bit_of_the_sums_is_told_from_one_of_the_file(release: Path) -> None:
    sums = (release / "SHA256SUMS").read_text()
    for name in (SPLEEN_TAR, SPLEEN_LINES, "release.json"):
        digit = sums.index(f"  {name}") - 1
        sums = sums[:digit] + ("0" if sums[digit] == "1" else "1") + sums[digit + 1 :]
    (release / "SHA256SUMS").write_text(sums)

    assert {(f.file, f.member) for f in audit(release).findings} == {
        ("SHA256SUMS", SPLEEN_TAR),
        ("SHA256SUMS", SPLEEN_LINES),
        ("SHA256SUMS", "release.json"),
    }


def swap_members(release: Path) -> None:
    made = sample()
    files = made[SPLEEN].files
    names = [name for name in files if "imagesTr" in name]
    files[names[0]], files[names[1]] = files[names[1]], files[names[0]]
    members = {f"{SPLEEN}/dataset.json": dataset_bytes(made[SPLEEN]), **files}
    (release / SPLEEN_TAR).write_bytes(tar_of(members))


def drop_line(release: Path) -> None:
    lines = (release / SPLEEN_LINES).read_bytes().splitlines(keepends=True)
    (release / SPLEEN_LINES).write_bytes(b"".join(lines[:2] + lines[3:]))


def link(release: Path) -> None:
    (release / SPLEEN_TAR).rename(release.parent / "elsewhere.tar")
    (release / SPLEEN_TAR).symlink_to(release.parent / "elsewhere.tar")


UNSEALED: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "a file nobody lists": (lambda r: (r / "notes.txt").write_text("x"), {"file": "notes.txt"}),
    "a hidden file": (lambda r: (r / ".DS_Store").write_text("x"), {"file": ".DS_Store"}),
    "a file in a folder": (
        lambda r: shutil.copytree(r, r / "more"),
        {"file": "more/release.json"},
    ),
    "another TAR": (
        lambda r: shutil.copy(r / SPLEEN_TAR, r / "Task99_Other.tar"),
        {"file": "Task99_Other.tar", "wanted": "only what release.json names"},
    ),
    "no TAR": (lambda r: (r / SPLEEN_TAR).unlink(), {"file": SPLEEN_TAR, "found": "none"}),
    "no manifest": (lambda r: (r / SPLEEN_LINES).unlink(), {"file": SPLEEN_LINES, "found": "none"}),
    "no release.json": (lambda r: (r / "release.json").unlink(), {"file": "release.json"}),
    "no sums": (lambda r: (r / "SHA256SUMS").unlink(), {"file": "SHA256SUMS"}),
    "a link instead of a TAR": (link, {"file": SPLEEN_TAR, "found": "a link or device"}),
    "swapped members": (swap_members, {"file": SPLEEN_TAR, "member": IMAGE, "case": "spleen_2"}),
    "a dropped line": (drop_line, {"file": SPLEEN_LINES, "stage": "release"}),
    "a TAR cut in the middle": (cut(SPLEEN_TAR, 0.5), {"file": SPLEEN_TAR}),
    "a TAR cut in its last block": (cut(SPLEEN_TAR, 0.9999), {"file": SPLEEN_TAR}),
    "an empty TAR": (cut(SPLEEN_TAR, 0), {"file": SPLEEN_TAR}),
    "an empty manifest": (cut(SPLEEN_LINES, 0), {"file": SPLEEN_LINES}),
    "an empty release.json": (cut("release.json", 0), {"file": "release.json"}),
    "a manifest without its last newline": (cut(SPLEEN_LINES, 0.99999), {"file": SPLEEN_LINES}),
    "a fraction in release.json": (
        replace_text("release.json", '"lines":4', '"lines":4.0'),
        {"file": "release.json"},
    ),
    "a key given twice": (
        replace_text("release.json", '"lines":4', '"lines":4,"lines":4'),
        {"file": "release.json", "found": "a key given twice"},
    ),
    "a blank in release.json": (
        replace_text("release.json", '"lines":4', '"lines": 4'),
        {"file": "release.json", "wanted": "canonical JSON (RFC 8785)"},
    ),
    "an unknown key in release.json": (
        replace_text("release.json", '"lines":4', '"lines":4,"name":"x"'),
        {"file": "release.json"},
    ),
    "not text in release.json": (
        replace_text("release.json", "curate-release/1", "curate-release\ufffd"),
        {"file": "release.json"},
    ),
}


@pytest.mark.parametrize("what", UNSEALED)
def test_a_changed_folder_is_found(release: Path, what: str) -> None:
    spoil, place = UNSEALED[what]
    spoil(release)

    report = audit(release)
    assert sought(report, **place), shown(report)


def test_a_folder_that_is_no_release_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")

    for place in (tmp_path, tmp_path / "notes.txt", tmp_path / "nowhere"):
        with pytest.raises(UsageError) as refused:
            audit(place)
        assert refused.value.code == "bad-usage"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_found(release: Path) -> None:
    (release / SPLEEN_TAR).chmod(0)

    assert sought(audit(release), file=SPLEEN_TAR)
