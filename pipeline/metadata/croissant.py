"""Croissant 1.0: the TARs as distributions, the cases as records."""

from __future__ import annotations

import hashlib

from pipeline.metadata.facts import COLUMNS, Facts, File, TaskFacts
from pipeline.metadata.names import package_name, pretty
from pipeline.model.publication import Creator

_CR, _SC = "http://mlcommons.org/croissant/", "https://schema.org/"
_TERMS = (
    "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": _SC,
    "sc": _SC,
    "cr": _CR,
    "dct": "http://purl.org/dc/terms/",
    "rai": f"{_CR}RAI/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: f"cr:{name}" for name in _TERMS},
}
"""As the specification's appendix gives it."""


def write(facts: Facts, table: bytes) -> dict[str, bytes]:
    """Return croissant.json; `table` is cases.csv, from which the records come."""
    terms = facts.publication
    cases = File("cases.csv", hashlib.sha256(table).hexdigest(), len(table))
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{_CR}1.0",
        "name": package_name(terms.title),
        "alternateName": terms.title,
        "description": terms.description,
        "license": terms.licence_url,
        "url": terms.home,
        "version": terms.version,
        "datePublished": terms.date,
        "creator": [_creator(creator) for creator in terms.creators],
        "publisher": {"@type": "sc:Organization", "name": terms.publisher},
        "citeAs": f"{'; '.join(c.full_name for c in terms.creators)}. {terms.title}, {terms.version}, {terms.date}.",
        "isLiveDataset": False,
        "distribution": [
            _file(cases, "text/csv"),
            *(part for task in facts.tasks for part in _distribution(task)),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "cases",
                "name": "cases",
                "description": "One record a case.",
                "key": [{"@id": "cases/task"}, {"@id": "cases/case"}],
                "field": [_field(name) for name in COLUMNS],
            }
        ],
    }
    return {"croissant.json": pretty(document)}


def _creator(creator: Creator) -> dict[str, str]:
    kind = "sc:Organization" if creator.name else "sc:Person"
    orcid = {"identifier": f"https://orcid.org/{creator.orcid}"} if creator.orcid else {}
    return {"@type": kind, "name": creator.full_name, **orcid}


def _file(file: File, encoding: str) -> dict[str, object]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": encoding,
        "sha256": file.sha256,
    }


def _distribution(task: TaskFacts) -> list[dict[str, object]]:
    folders = (("images", "images*"), ("labels", "labelsTr"))
    sets: list[dict[str, object]] = [
        {
            "@type": "cr:FileSet",
            "@id": f"{task.name}-{name}",
            "name": f"{task.name}-{name}",
            "description": f"{task.title}: {task.description}",
            "containedIn": {"@id": task.tar.name},
            "encodingFormat": "application/gzip",
            "includes": f"{task.name}/{pattern}/*.nii.gz",
        }
        for name, pattern in folders
    ]
    return [_file(task.tar, "application/x-tar"), _file(task.manifest, "application/jsonl"), *sets]


def _field(name: str) -> dict[str, object]:
    return {
        "@type": "cr:Field",
        "@id": f"cases/{name}",
        "name": name,
        "description": name.replace("_", " "),
        "dataType": "sc:Integer" if name == "image_bytes" else "sc:Text",
        "source": {"fileObject": {"@id": "cases.csv"}, "extract": {"column": name}},
    }
