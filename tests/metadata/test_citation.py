"""How to cite a release, as written and as cffconvert and datacite read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.model.publication import Publication

ROOT = Path(__file__).parents[2]


def test_the_citation_is_yaml_with_the_texts_as_given(release: Path, publication: Publication) -> None:
    document = YAML(typ="safe", pure=True).load(StringIO((release / "CITATION.cff").read_text()))
    assert (document["title"], document["abstract"]) == (publication.title, publication.description)
    assert document["authors"] == [
        {
            "family-names": "Doe",
            "given-names": "Alex",
            "affiliation": "A hospital",
            "orcid": "https://orcid.org/0000-0002-1825-0097",
        },
        {"name": "The consortium"},
    ]


def test_the_year_is_that_of_the_terms(release: Path) -> None:
    assert json.loads((release / "datacite.json").read_bytes())["publicationYear"] == "2026"


@pytest.mark.filterwarnings("ignore")
def test_the_schema_of_datacite_holds(release: Path) -> None:
    schema = pytest.importorskip("datacite.schema45", reason="datacite is not installed")
    assert schema.validate(json.loads((release / "datacite.json").read_bytes()))


def test_cffconvert_validates_the_citation(release: Path) -> None:
    """It wants older versions of what the others need, so it has an environment of its own, or is on the path."""
    command = shutil.which("cffconvert", path=str(ROOT / ".venv-cite/bin")) or shutil.which("cffconvert")
    if command is None:
        pytest.skip("cffconvert is not installed: make cite-venv")
    words = [command, "--validate", "-i", str(release / "CITATION.cff")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
