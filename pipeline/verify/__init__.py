"""Hold released bytes against the sources they were made from, with nothing of the code that made them.

What identifies is gathered from the sources anew (`harvest`), with pydicom's raw elements alone, and looked for in
every released byte (`search`, `zones`). Pseudonyms are derived from key and source a second time (`pseudonyms`). A
released DICOM file is also held against its own source (`instances`). What the policy publishes is read as data
(`public`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.model.errors import SourceError
from pipeline.verify.elements import Instance, read_instance
from pipeline.verify.harvest import Harvest
from pipeline.verify.instances import faults, pair_of, searched_bytes, searched_texts
from pipeline.verify.masks import header_texts
from pipeline.verify.pseudonyms import Pseudonyms
from pipeline.verify.public import Public, public
from pipeline.verify.report import Leak, PrivacyReport, Tally
from pipeline.verify.search import Searcher, weak_hits
from pipeline.verify.sources import PlannedCase, Source, contents, planned_cases
from pipeline.verify.zones import Zone, member_zones, release_zones

__all__ = [
    "Leak",
    "Made",
    "Part",
    "PrivacyReport",
    "Source",
    "planned_cases",
    "verify_instances",
    "verify_pack",
    "verify_release",
]

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is about to be released: its name, the case it is of, its bytes or the file that holds them."""

    file: str
    member: str
    case: str
    content: bytes | Path

    def zones(self) -> Iterator[Zone]:
        """Yield its bytes."""
        if isinstance(self.content, bytes):
            return iter([Zone(self.file, self.member, self.case, self.content)])
        return member_zones([self.content.read_bytes()], self.file, self.member, self.case)


@dataclass(frozen=True, slots=True)
class Made:
    """One released DICOM file by its name below the output folder, and what it was made from."""

    source: Source
    file: str


def verify_release(release: Path, workspace: Path, tell: Told = lambda _: None) -> PrivacyReport:
    """Search every byte of a release for what identifies in the sources of its tasks; derive each pseudonym again.

    Raises
    ------
    SourceError
        If a source cannot be read any more: nobody could say then what must not be in the release.
    """
    tasks = [path.name.partition(".")[0] for path in sorted(release.glob("Task*.manifest.jsonl"))]
    return _verified(workspace, tasks, lambda: release_zones(release), tell)


def verify_pack(
    workspace: Path, tasks: Sequence[str], parts: Callable[[], Iterable[Part]], tell: Told = lambda _: None
) -> PrivacyReport:
    """Do what `verify_release` does for what is about to be packed, before any of it is written."""
    return _verified(workspace, tasks, lambda: (z for part in parts() for z in part.zones()), tell)


def _verified(
    workspace: Path, tasks: Sequence[str], zones: Callable[[], Iterable[Zone]], tell: Told
) -> PrivacyReport:
    keys, tally = keys_of(workspace, public()), Tally()
    said = [_rules_of(workspace, task) for task in tasks]
    cases = [case for task in tasks for case in planned_cases(workspace, task)]
    harvest = Harvest(public().saying([*said, *(case.case for case in cases)]))
    shared = _shared_names(cases)
    for case in cases:
        tell(f"{case.owner}: sources")
        _harvest_case(case, harvest, shared, keys, tally)
    searcher = Searcher(harvest)
    for zone in zones():
        tell(f"{zone.file} {zone.member}")
        _search(zone, harvest, searcher, tally)
        tally.counts["bytes"] += len(zone.content)
    return tally.report(harvest)


def keys_of(workspace: Path, known: Public) -> Pseudonyms:
    """Return the mapping under a workspace's key."""
    try:
        secret = bytes.fromhex((workspace / "private" / "pseudonym.key").read_text("ascii").strip())
    except (OSError, ValueError):
        raise SourceError("source-missing", wanted="the workspace's key", found="none") from None
    least, most = known.settings["shift_days"]
    return Pseudonyms(secret, least, most, known.uids)


def _rules_of(workspace: Path, task: str) -> str:
    """Return the words of the rules that a task was planned under: they are published with it."""
    with (workspace / "private" / "plan" / f"{task}.jsonl").open("rb") as stream:
        settings = workspace / "curate.yaml"
        said = settings.read_text("utf-8", "replace") if settings.is_file() else ""
        return stream.readline().decode("utf-8", "replace").replace("\\n", " ") + task + said


def _shared_names(cases: Sequence[PlannedCase]) -> set[str]:
    """Return the folder names that all sources have in common: where they are mounted, and nobody's."""
    shared: list[str] | None = None
    for case in cases:
        for source in case.sources:
            names = source.names[:-1]
            shared = names if shared is None else _common_start(shared, names)
    return set(shared or [])


def _common_start(first: list[str], second: list[str]) -> list[str]:
    length = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[: min(len(first), len(second)) if length is None else length]


def _harvest_case(
    case: PlannedCase, harvest: Harvest, shared: set[str], keys: Pseudonyms, tally: Tally
) -> None:
    for source, content in contents(case.sources):
        tally.counts["sources"] += 1
        instance = _harvest_file(case.owner, source, content, harvest, shared)
        if instance is not None and source not in case.label:
            _check_subject(case, instance, keys, tally)


def _harvest_file(
    owner: str, source: Source, content: bytes, harvest: Harvest, shared: set[str]
) -> Instance | None:
    """Gather from a source file and its names; return it as DICOM, if it is."""
    for name in source.names:
        if name not in shared:
            harvest.add_name(owner, name)
    harvest.digests.add(source.digest)
    if content[128:132] != b"DICM" and not content.startswith((b"\x08\x00", b"\x02\x00")):
        harvest.add_bytes(owner, "header of a mask or table", header_texts(content))
        return None
    instance = read_instance(content)
    harvest.add_instance(owner, instance)
    return instance


def _check_subject(case: PlannedCase, instance: Instance, keys: Pseudonyms, tally: Tally) -> None:
    patient_id = instance.text(0x00100020)
    issuer = instance.decoded(instance.text(0x00100021).encode("latin-1"))
    # A plan tells subjects of two issuers apart; what is written in DICOM does so only where the policy says it.
    if patient_id and case.subject not in [
        keys.released(keys.subject(patient_id, by)) for by in ("", issuer)
    ]:
        tally.add(
            Leak(f"plan of {case.task}", case.case, "PatientID", "another pseudonym than the key gives")
        )


def _search(zone: Zone, harvest: Harvest, searcher: Searcher, tally: Tally) -> None:
    if zone.is_voxels:
        tally.add_hits(zone.file, zone.member, searcher.voxels(zone.content))
        return
    tally.counts["files"] += zone.member == "its name"
    tally.add_hits(zone.file, zone.member, searcher.text(zone.content))
    words = harvest.weak.get(zone.case) if zone.case else None
    if words:
        tally.add_hits(zone.file, zone.member, weak_hits(words, zone.content.decode("utf-8", "replace")))


def verify_instances(
    exported: Sequence[Made], folder: Path, workspace: Path, tell: Told = lambda _: None
) -> PrivacyReport:
    """Hold each de-identified DICOM file below a folder against its source, and search all of them for all sources.

    A file in the folder that no source is known of is a finding.
    """
    known = public()
    keys, tally, harvest = keys_of(workspace, known), Tally(), Harvest(known)
    shared = set(_common_names([one.source for one in exported]))
    by_source = {one.source: one.file for one in exported}
    released = _Released({}, {})
    for source, content in contents(list(by_source)):
        tally.counts["sources"] += 1
        file = by_source[source]
        tell(f"{file}: source")
        before = _harvest_file(_owner_of(file), source, content, harvest, shared)
        if before is not None:
            released.add(_check_pair(before, folder / file, file, (keys, known, tally)), file)
    searcher = Searcher(harvest)
    names = {one.file for one in exported}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        file = path.relative_to(folder).as_posix()
        tell(file)
        _search_instance(path, file, released.pixels.get(file, (0, 0)), searcher, tally)
        if file not in names:
            tally.add(Leak(file, "", "the file", "no source is known that it was made from"))
    for (owner, text), file in released.texts.items():
        tally.add_hits(file, "", weak_hits(harvest.weak.get(owner, {}), text.decode("latin-1")))
    return tally.report(harvest)


def _common_names(sources: Sequence[Source]) -> list[str]:
    shared: list[str] | None = None
    for source in sources:
        names = source.names[:-1]
        shared = names if shared is None else _common_start(shared, names)
    return shared or []


def _owner_of(file: str) -> str:
    """Return the subject's pseudonym, which the output's folders say."""
    return file.partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Released:
    """Where each file's pixels stand, and the texts of each owner with the first file that holds them."""

    pixels: dict[str, tuple[int, int]]
    texts: dict[tuple[str, bytes], str]

    def add(self, after: Instance | None, file: str) -> None:
        """Keep what the search needs of a file."""
        if after is not None:
            self.pixels[file] = after.pixels
            owner = _owner_of(file)
            for text in searched_texts(after):
                self.texts.setdefault((owner, text), file)


def _check_pair(
    before: Instance, path: Path, file: str, by: tuple[Pseudonyms, Public, Tally]
) -> Instance | None:
    keys, known, tally = by
    if not path.is_file():
        tally.add(Leak(file, "", "the file", "it is gone"))
        return None
    after = read_instance(path.read_bytes())
    pair = pair_of(before, after, keys, known)
    if _owner_of(file) != keys.name(pair.subject):
        tally.add(Leak(file, "its name", "PatientID", "another pseudonym than the key gives"))
    for place, fault in faults(pair, keys, known):
        tally.add(Leak(file, "", place, fault))
    return after


def _search_instance(
    path: Path, file: str, pixels: tuple[int, int], searcher: Searcher, tally: Tally
) -> None:
    content = path.read_bytes()
    tally.counts.update(files=1, bytes=len(content))
    name = file.encode("utf-8", "surrogateescape")
    text, voxels = searched_bytes(content, pixels)
    if searcher.is_clean([name, text], voxels):
        return
    tally.add_hits(file, "its name", searcher.text(name))
    tally.add_hits(file, "", searcher.text(text))
    tally.add_hits(file, "PixelData", searcher.voxels(voxels))
