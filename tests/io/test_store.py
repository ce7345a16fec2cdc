"""A finished case stands in the store whole, or is made again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from threading import Thread

import pytest

from pipeline.io import store
from pipeline.io.document import canonical, digest_of
from pipeline.io.durable import sweep
from pipeline.model.identified import Key

KEY = Key(bytes(32))
ENTRY = "ab/" + "ab" * 20
FILES = {"image": b"an image", "label": b"a label"}
RECORD = {"case": "a_1", **{part: {"file": digest_of(content)} for part, content in FILES.items()}}


def put(folder: Path, record: dict[str, object] = RECORD, files: dict[str, bytes] = FILES) -> None:
    store.put(folder, ENTRY, record, files)  # type: ignore[arg-type]  # the records here are JSON


def everything(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_put_is_found(tmp_path: Path) -> None:
    put(tmp_path)

    assert store.find(tmp_path, ENTRY) == RECORD
    assert store.is_there(tmp_path, ENTRY)
    assert sorted(everything(tmp_path)) == [
        f"{ENTRY}/{name}" for name in ("image.nii.gz", "label.nii.gz", "record.json")
    ]


def test_a_case_without_label_is_found(tmp_path: Path) -> None:
    record = {**RECORD, "label": None}
    put(tmp_path, record, {"image": FILES["image"]})

    assert store.find(tmp_path, ENTRY) == record


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    assert store.find(tmp_path, ENTRY) is None
    assert not store.is_there(tmp_path, ENTRY)


@pytest.mark.parametrize("name", ["image.nii.gz", "label.nii.gz", "record.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_case_is_not_trusted(tmp_path: Path, name: str, damage: str) -> None:
    put(tmp_path)
    path = tmp_path / ENTRY / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b" ")

    assert store.find(tmp_path, ENTRY) is None


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b"{}", b'{"image": 1, "label": null}', b"\xff"])
def test_a_record_that_is_none_is_not_trusted(tmp_path: Path, text: bytes) -> None:
    put(tmp_path)
    (tmp_path / ENTRY / "record.json").write_bytes(text)

    assert store.find(tmp_path, ENTRY) is None


def test_a_record_must_be_canonical(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / ENTRY / "record.json"
    path.write_bytes(path.read_bytes() + b"\n")

    assert store.find(tmp_path, ENTRY) is None


def test_putting_again_replaces_all_of_it(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / ENTRY / "record.json").write_bytes(b"damaged")
    (tmp_path / ENTRY / "stray").write_bytes(b"x")
    put(tmp_path)

    assert store.find(tmp_path, ENTRY) == RECORD
    assert f"{ENTRY}/stray" not in everything(tmp_path)


class Killed(BaseException):
    """As a killed process."""


@pytest.mark.parametrize("step", ["mkdir", "chmod", "replace", "rename"])
@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_killed_anywhere_leaves_the_case_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int, *, is_there: bool
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    if is_there:
        put(folder)
    calls, method = [0], getattr(Path, step)

    def failing(*given: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == at + 1:
            raise Killed
        return method(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, failing)
        with contextlib.suppress(Killed):
            put(folder)
    left = store.find(folder, ENTRY)
    for place in (folder, *folder.glob("??")):
        sweep(place)

    assert left in (None, RECORD)
    assert set(everything(folder)) in (
        set(),
        {f"{ENTRY}/{name}" for name in ("image.nii.gz", "label.nii.gz", "record.json")},
    )


def test_an_entry_is_named_by_its_action_and_the_key() -> None:
    name = store.entry_name(KEY, {"task": "Task01_A", "case": "a_1"})

    assert name == store.entry_name(KEY, {"case": "a_1", "task": "Task01_A"})
    assert name != store.entry_name(Key(b"\x01" * 32), {"task": "Task01_A", "case": "a_1"})
    assert name != store.entry_name(KEY, {"task": "Task01_A", "case": "a_2"})
    assert (len(name), name[:2], name[2]) == (43, name[3:5], "/")


def test_the_record_is_canonical_bytes(tmp_path: Path) -> None:
    put(tmp_path)

    assert (tmp_path / ENTRY / "record.json").read_bytes() == canonical(RECORD)  # type: ignore[arg-type]


def test_two_runs_that_end_the_same_case_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def end_it() -> None:
        try:
            for _ in range(30):
                store.put(
                    tmp_path, "ab/abc", {"image": None, "label": None}, {"image": b"voxels", "action": b"{}"}
                )
        except OSError as fault:
            failures.append(fault)

    runs = [Thread(target=end_it) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert failures == []
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == ["abc"]
    assert sorted(path.name for path in (tmp_path / "ab/abc").iterdir()) == [
        "action.json", "image.nii.gz", "record.json",
    ]  # fmt: skip
