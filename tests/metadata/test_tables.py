"""The table of cases in its three forms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipeline.metadata.facts import COLUMNS, Facts


def test_csv_and_json_lines_hold_the_rows(facts: Facts, release: Path) -> None:
    with (release / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row | {"image_bytes": int(row["image_bytes"])} for row in rows] == facts.rows
    assert [json.loads(line) for line in (release / "metadata.jsonl").read_text().splitlines()] == facts.rows


def test_the_description_names_every_column_in_order(release: Path) -> None:
    (resource,) = json.loads((release / "datapackage.json").read_bytes())["resources"]
    assert tuple(field["name"] for field in resource["schema"]["fields"]) == COLUMNS
    assert resource["bytes"] == (release / "cases.csv").stat().st_size


@pytest.mark.filterwarnings("ignore")
def test_frictionless_validates_the_table(release: Path) -> None:
    frictionless = pytest.importorskip("frictionless", reason="frictionless is not installed")
    assert frictionless.validate(str(release / "datapackage.json")).valid
    (release / "cases.csv").write_text((release / "cases.csv").read_text().replace("training", "", 1))
    assert not frictionless.validate(str(release / "datapackage.json")).valid
