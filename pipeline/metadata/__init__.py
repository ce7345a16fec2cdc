"""Describe a release in the formats that catalogues and tools read, all from one model.

Nothing here says anything that release.json, the manifests or the publication settings do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.metadata import card, citation, crate, croissant, tables
from pipeline.metadata.facts import gather
from pipeline.model.publication import Publication

NAMES = (
    "CITATION.cff", "README.md", "cases.csv", "croissant.json", "datacite.json", "datapackage.json", "metadata.jsonl",
    "ro-crate-metadata.json",
)  # fmt: skip
"""Every file that `describe` makes."""


def describe(
    release: Path, entries: Sequence[Mapping[str, Any]], publication: Publication
) -> dict[str, bytes]:
    """Return file name -> content of a release's metadata.

    Parameters
    ----------
    release
        Folder in which the manifests stand.
    entries
        The tasks of release.json.
    publication
        The terms, as the settings give them; no date or year is taken from a clock.
    """
    facts = gather(release, entries, publication)
    made = tables.write(facts)
    for part in (croissant.write(facts, made["cases.csv"]), crate.write(facts), citation.write(facts)):
        made |= part
    return made | card.write(facts)
