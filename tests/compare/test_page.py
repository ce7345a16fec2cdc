"""What is shown of a comparison."""

from __future__ import annotations

import json
import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from running import Curate
from sample_release import SPLEEN, put_voxels, sample, seal, voxels_of

from pipeline.compare import Comparison, compare
from pipeline.compare.page import in_words, page


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    release = sample()
    voxels = voxels_of(release[SPLEEN], "spleen_2", "label")
    voxels[0, 0, 0] ^= 1
    put_voxels(release[SPLEEN], "spleen_2", "label", voxels)
    release[SPLEEN].header["rules"]["document"]["header"]["description"] = "<script>alert(1)</script>"
    return compare(seal(sample(), tmp_path / "a"), seal(release, tmp_path / "b"))


def test_words_name_task_case_part_numbers_and_why(found: Comparison) -> None:
    text = in_words(found)
    assert "Task01_BrainTumour: 3 same" in text
    assert "Task09_Spleen: 2 same, 1 voxels" in text
    assert "  spleen_2: voxels" in text
    assert re.search(r"label: 1 of 792 voxels differ; by at most 1 at \[0, 0, 0\]; corners 0 mm apart", text)
    assert "why: nothing in the manifests explains it" in text


def test_a_page_escapes_what_manifests_say_and_loads_nothing(found: Comparison) -> None:
    text = page(found)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    tags: list[tuple[str, dict[str, str | None]]] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))  # type: ignore[method-assign]
    reader.feed(text)
    assert not [
        tag for tag, given in tags if tag in ("script", "img", "link") or {"src", "href"} & set(given)
    ]
    assert any(given.get("class") == "unexplained" for _, given in tags)


def test_a_page_of_nothing_says_so(tmp_path: Path) -> None:
    release = seal(sample(), tmp_path / "a")
    assert "Nothing differs." in page(compare(release, release))


def test_the_command_prints_words_writes_a_page_and_ends_with_5_for_what_nothing_explains(
    tmp_path: Path, curate: Curate
) -> None:
    release = sample()
    voxels = voxels_of(release[SPLEEN], "spleen_2", "label")
    voxels[0, 0, 0] ^= 1
    put_voxels(release[SPLEEN], "spleen_2", "label", voxels)
    first, second = seal(sample(), tmp_path / "a"), seal(release, tmp_path / "b")
    same = curate("compare", first, first, "--json")
    assert json.loads(same.stdout)["same"] is True
    said = curate("compare", first, second, "--html", tmp_path / "page.html", code=5)
    assert "spleen_2: voxels" in said.stdout
    assert "1 cases differ, 1 unexplained" in said.stderr
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    without = json.loads(
        curate("compare", first / f"{SPLEEN}.tar", folder_of(second, tmp_path), "--json").stdout
    )
    assert [case["state"] for case in without["tasks"][0]["cases"]] == ["voxels", "same", "same"]


def folder_of(release: Path, place: Path) -> Path:
    with tarfile.open(release / f"{SPLEEN}.tar") as archive:
        archive.extractall(place / "published", filter="data")
    return place / "published" / SPLEEN
