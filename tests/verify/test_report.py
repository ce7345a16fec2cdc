from __future__ import annotations

from pipeline.verify.harvest import Harvest
from pipeline.verify.public import public
from pipeline.verify.report import FINDINGS_LIMIT, Leak, Tally


def test_a_leak_is_said_once_and_a_flood_is_counted() -> None:
    tally = Tally()
    for number in range(FINDINGS_LIMIT + 5):
        tally.add(Leak("a.tar", str(number), "PatientName", "as it stands"))
        tally.add(Leak("a.tar", "0", "PatientName", "as it stands"))
    report = tally.report(Harvest(public()))
    assert (len(report.findings), report.unlisted) == (FINDINGS_LIMIT, 5)


def test_a_leak_names_places_and_the_sources_keyword() -> None:
    assert str(Leak("a.tar", "x.nii.gz", "PatientName", "in hex")) == "a.tar, x.nii.gz: PatientName: in hex"
