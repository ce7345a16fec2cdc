"""Findings say their place, cannot hurt a terminal, and do not fill the memory."""

from __future__ import annotations

import json
from pathlib import Path

from sample_release import SPLEEN
from spoiling import BRAIN_TAR, SPLEEN_LINES, replace_text

from pipeline.audit import audit
from pipeline.audit.report import FINDINGS_LIMIT


def test_a_report_is_one_json_object(release: Path) -> None:
    (release / BRAIN_TAR).unlink()
    report = audit(release)

    document = json.loads(json.dumps(report.to_json()))
    assert document["holds"] is False
    assert document["counts"]["tars"] == 1
    assert document["findings"][0].keys() == {"file", "member", "case", "stage", "wanted", "found"}


def test_what_a_finding_quotes_cannot_steer_a_terminal(release: Path) -> None:
    (release / "x\x1b[31m\nspleen \u202e").write_text("x")
    replace_text("release.json", '"lines":4', '"lines":4,"' + 900 * "e" + '":1')(release)

    for finding in audit(release).findings:
        assert all(" " <= letter <= "~" for letter in str(finding))
        assert len(finding.found) <= 310


def test_findings_are_listed_up_to_a_limit_for_each_task(release: Path) -> None:
    lines = b"".join(b"%d\n" % number for number in range(2 * FINDINGS_LIMIT))
    (release / SPLEEN_LINES).write_bytes(lines)

    report = audit(release)
    assert len([f for f in report.findings if f.file.startswith(SPLEEN)]) == FINDINGS_LIMIT
    assert report.unlisted > FINDINGS_LIMIT
