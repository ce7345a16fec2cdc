"""RO-Crate 1.1 with the run that made the release (Process Run Crate)."""

from __future__ import annotations

from typing import Any

from pipeline.metadata.facts import Facts, File
from pipeline.metadata.names import pretty
from pipeline.model.publication import Creator

_PROCESS = "https://w3id.org/ro/wfrun/process/0.5"
_CRATE = "https://w3id.org/ro/crate/1.1"
_RUN, _TOOL = "#run", "#curate"


def write(facts: Facts) -> dict[str, bytes]:
    """Return ro-crate-metadata.json. The run has no time: nothing released depends on a clock."""
    graph = [_descriptor(), _root(facts), *(_file(file) for file in facts.files), _license(facts)]
    graph += [
        {"@id": "release.json", "@type": "File", "encodingFormat": "application/json", "name": "release.json"}
    ]
    graph += [_person(number, creator) for number, creator in enumerate(facts.publication.creators)]
    graph += [_publisher(facts), _run(facts), *_software(facts)]
    graph.append({"@id": _PROCESS, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"})
    return {"ro-crate-metadata.json": pretty({"@context": f"{_CRATE}/context", "@graph": graph})}


def _descriptor() -> dict[str, Any]:
    return {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }


def _root(facts: Facts) -> dict[str, Any]:
    terms = facts.publication
    return {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": _PROCESS},
        "name": terms.title,
        "description": terms.description,
        "datePublished": terms.date,
        "version": terms.version,
        "license": {"@id": terms.licence_url},
        "author": [{"@id": _person_id(n, c)} for n, c in enumerate(terms.creators)],
        "publisher": {"@id": "#publisher"},
        "hasPart": [{"@id": file.name} for file in facts.files] + [{"@id": "release.json"}],
        "mentions": {"@id": _RUN},
        "identifier": terms.home,
    }


def _license(facts: Facts) -> dict[str, Any]:
    terms = facts.publication
    return {"@id": terms.licence_url, "@type": "CreativeWork", "name": terms.licence}


def _file(file: File) -> dict[str, Any]:
    kind = "application/x-tar" if file.name.endswith(".tar") else "application/jsonl"
    return {
        "@id": file.name,
        "@type": "File",
        "name": file.name,
        "encodingFormat": kind,
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }


def _person_id(number: int, creator: Creator) -> str:
    return f"https://orcid.org/{creator.orcid}" if creator.orcid else f"#creator-{number + 1}"


def _person(number: int, creator: Creator) -> dict[str, Any]:
    kind = "Organization" if creator.name else "Person"
    return {"@id": _person_id(number, creator), "@type": kind, "name": creator.full_name}


def _publisher(facts: Facts) -> dict[str, Any]:
    return {"@id": "#publisher", "@type": "Organization", "name": facts.publication.publisher}


def _run(facts: Facts) -> dict[str, Any]:
    return {
        "@id": _RUN,
        "@type": "CreateAction",
        "name": "From DICOM and expert labels to a release, by rules",
        "description": "The sources are private; the manifests hold their keyed digests and what each step did.",
        "instrument": {"@id": _TOOL},
        "result": [{"@id": file.name} for file in facts.files],
    }


def _software(facts: Facts) -> list[dict[str, Any]]:
    versions = {name: text for name, text in facts.software.items() if isinstance(text, str)}
    own = versions.pop("curate", "")
    parts = [
        {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": text}
        for name, text in sorted(versions.items())
    ]
    tool = {
        "@id": _TOOL,
        "@type": "SoftwareApplication",
        "name": "curate",
        "softwareVersion": own,
        "softwareRequirements": [{"@id": part["@id"]} for part in parts],
    }
    return [tool, *parts]
