"""How to cite a release: CITATION.cff 1.2.0 and DataCite 4.5 JSON."""

from __future__ import annotations

import json
from typing import Any

from pipeline.metadata.facts import Facts
from pipeline.metadata.names import pretty
from pipeline.model.publication import Creator


def write(facts: Facts) -> dict[str, bytes]:
    """Return CITATION.cff and datacite.json."""
    return {"CITATION.cff": _cff(facts), "datacite.json": pretty(_datacite(facts))}


def _cff(facts: Facts) -> bytes:
    """Return YAML whose scalars are JSON strings, which YAML 1.2 reads as they are."""
    terms = facts.publication
    values = {
        "cff-version": "1.2.0",
        "message": "If you use this data set, please cite it as below.",
        "type": "dataset",
        "title": terms.title,
        "abstract": terms.description,
        "version": terms.version,
        "date-released": terms.date,
        "license": terms.licence,
        **({"doi": terms.doi} if terms.doi else {}),
        **({"url": terms.url} if terms.url else {}),
    }
    lines = [f"{name}: {json.dumps(text)}" for name, text in values.items()]
    lines.append("authors:")
    for creator in terms.creators:
        pairs = [f"{name}: {json.dumps(text)}" for name, text in _author(creator).items()]
        lines += [("  - " if not place else "    ") + pair for place, pair in enumerate(pairs)]
    return ("\n".join(lines) + "\n").encode("ascii")


def _author(creator: Creator) -> dict[str, str]:
    orcid = {"orcid": f"https://orcid.org/{creator.orcid}"} if creator.orcid else {}
    if creator.name:
        return {"name": creator.name, **orcid}
    affiliation = {"affiliation": creator.affiliation} if creator.affiliation else {}
    return {"family-names": str(creator.family), "given-names": str(creator.given), **affiliation, **orcid}


def _datacite(facts: Facts) -> dict[str, Any]:
    terms = facts.publication
    document: dict[str, Any] = {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Labelled medical images"},
        "titles": [{"title": terms.title}],
        "creators": [_creator(creator) for creator in terms.creators],
        "publisher": {"name": terms.publisher},
        "publicationYear": terms.date[:4],
        "dates": [{"date": terms.date, "dateType": "Issued"}],
        "version": terms.version,
        "descriptions": [{"description": terms.description, "descriptionType": "Abstract"}],
        "rightsList": [
            {
                "rights": terms.licence,
                "rightsUri": terms.licence_url,
                "rightsIdentifier": terms.licence,
                "rightsIdentifierScheme": "SPDX",
            }
        ],
        "sizes": [f"{sum(file.size for file in facts.files)} bytes", f"{len(facts.rows)} cases"],
        "formats": ["application/x-tar", "application/jsonl"],
        "subjects": [{"subject": task.title} for task in facts.tasks],
    }
    if terms.doi:
        document["doi"] = terms.doi
    return document | ({"url": terms.url} if terms.url else {})


def _creator(creator: Creator) -> dict[str, Any]:
    made: dict[str, Any] = {"name": creator.full_name}
    if creator.name:
        made["nameType"] = "Organizational"
    else:
        made |= {"nameType": "Personal", "givenName": creator.given, "familyName": creator.family}
    if creator.affiliation:
        made["affiliation"] = [{"name": creator.affiliation}]
    if creator.orcid:
        uri = f"https://orcid.org/{creator.orcid}"
        made["nameIdentifiers"] = [
            {"nameIdentifier": uri, "nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
        ]
    return made
