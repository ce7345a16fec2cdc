"""The card of a release."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from sample_release import BRAIN, SPLEEN

from pipeline.model.publication import Publication


def test_the_front_matter_is_yaml_that_a_title_cannot_leave(release: Path, publication: Publication) -> None:
    _, matter, _ = (release / "README.md").read_text().split("---\n", 2)
    document = YAML(typ="safe", pure=True).load(StringIO(matter))
    assert document["pretty_name"] == publication.title
    assert document["license"] == "cc-by-sa-4.0"
    named = {config["data_files"] for config in json.loads(json.dumps(document["configs"]))}
    assert named == {"metadata.jsonl"}


def test_texts_stay_in_their_line_and_cell_without_markup(release: Path) -> None:
    text = (release / "README.md").read_text().split("---\n", 2)[2]
    assert text.startswith('# Two "organs" \\| &lt;b>\n\nMade-up volumes --- of two organs: äöü.\n')
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [BRAIN, SPLEEN]
    assert {row.count(" | ") for row in rows} == {5}


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_reads_the_card_and_pandas_the_table_that_it_names(
    release: Path, publication: Publication
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    card = hub.DatasetCard.load(release / "README.md")
    assert (card.data.pretty_name, card.data.license) == (publication.title, "cc-by-sa-4.0")
    (config,) = card.data.configs
    table = pandas.read_json(release / config["data_files"], lines=True)
    assert sorted(set(table["task"])) == [BRAIN, SPLEEN]
    assert len(table) == 6
